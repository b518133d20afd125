# A flow in Julia that nfref check --process asks: x_i = exp(s_i) z_i + a sin(z_(i-1)).
#
#     nfref check --process "julia flow.jl"
#
# Not run where Julia is not installed. Questions have no spaces, and their keys in the order
# ask, n, seed, rows: no package is needed to read them.

using Printf

const LOG_SCALE = [0.5, -0.25, 1.0]
const WAVE = 0.75
const DIM = length(LOG_SCALE)
const WRONG = "wrong" in ARGS

function forward(z)
    [exp(LOG_SCALE[i]) * z[i] + (i > 1 ? WAVE * sin(z[i-1]) : 0.0) for i in 1:DIM]
end

function inverse(x)
    z = zeros(DIM)
    for i in 1:DIM
        z[i] = (x[i] - (i > 1 ? WAVE * sin(z[i-1]) : 0.0)) * exp(-LOG_SCALE[i])
    end
    z
end

# Julia reads hexadecimal numbers, and writes them by %a.
function written(value)
    isnan(value) && return "nan"
    isinf(value) && return value > 0 ? "inf" : "-inf"
    @sprintf("%a", value)
end

listed(values) = join(("\"" * written(value) * "\"" for value in values), ",")

function numbers(line)
    text = match(r"\"rows\":\[([^\]]*)\]", line)[1]
    isempty(text) ? Float64[] : [parse(Float64, strip(part, '"')) for part in split(text, ",")]
end

function answer(line)
    ask = match(r"\"ask\":\"([a-z_]+)\"", line)[1]
    ask in ("forward", "inverse") || return "{\"error\":\"cannot $ask\"}"
    act, sign = ask == "forward" ? (forward, 1.0) : (inverse, -1.0)
    rows = numbers(line)
    n = length(rows) ÷ DIM
    log_det = sign * sum(LOG_SCALE[1:DIM-WRONG])
    values = [value for k in 1:n for value in act(rows[(k-1)*DIM+1:k*DIM])]
    "{\"values\":[" * listed(values) * "],\"log_det\":[" * listed(fill(log_det, n)) * "]}"
end

println("{\"nfref\":1,\"dim\":$DIM,\"can\":[\"forward\",\"inverse\"]}")
flush(stdout)
for line in eachline(stdin)
    println(answer(line))
    flush(stdout)
end
