# A density in R that nfref check --process asks: a gamma column, and a normal one given it.
#
#     nfref check --process "Rscript density.R"
#
# "Rscript density.R wrong" takes the rate of the gamma distribution for its scale when it draws.
# R reads hexadecimal numbers, and writes them by sprintf("%a"), so nothing is lost.

wrong <- identical(commandArgs(trailingOnly = TRUE), "wrong")
dim <- 2
shape <- 3
rate <- 2
slope <- 0.5

log_prob <- function(rows) {
  dgamma(rows[, 1], shape, rate = rate, log = TRUE) +
    dnorm(rows[, 2], slope * rows[, 1], 0.3, log = TRUE)
}

draw <- function(n, seed) {
  set.seed(seed)
  first <- if (wrong) rgamma(n, shape, scale = rate) else rgamma(n, shape, rate = rate)
  cbind(first, rnorm(n, slope * first, 0.3))
}

# Questions have no spaces, and their keys in the order ask, n, seed, rows: no library is needed.
field <- function(line, pattern) {
  found <- regmatches(line, regexec(pattern, line))[[1]]
  if (length(found) > 1) found[2] else ""
}

numbers <- function(line, key) {
  start <- regexpr(paste0("\"", key, "\":["), line, fixed = TRUE)
  text <- substring(line, start + nchar(key) + 4, nchar(line))
  text <- substring(text, 1, regexpr("]", text, fixed = TRUE) - 1)
  if (nchar(text) == 0) numeric(0) else
    as.numeric(strsplit(gsub("\"", "", text, fixed = TRUE), ",", fixed = TRUE)[[1]])
}

written <- function(values) {
  text <- ifelse(is.nan(values), "nan",
                 ifelse(is.infinite(values), ifelse(values > 0, "inf", "-inf"),
                        sprintf("%a", values)))
  if (length(values)) paste0("\"", text, "\"", collapse = ",") else ""
}

say <- function(text) {
  cat(text, "\n", sep = "")
  flush(stdout())
}

say(sprintf("{\"nfref\":1,\"dim\":%d,\"can\":[\"log_prob\",\"sample\"],%s}", dim,
            "\"domain\":[[0,\"-inf\"],[\"inf\",\"inf\"]]"))
input <- file("stdin", open = "r")
while (length(line <- readLines(input, n = 1)) > 0) {
  ask <- field(line, "\"ask\":\"([a-z_]+)\"")
  n <- as.integer(field(line, "\"n\":([0-9]+)"))
  if (ask == "log_prob") {
    rows <- matrix(numbers(line, "rows"), nrow = n, ncol = dim, byrow = TRUE)
    say(paste0("{\"log_prob\":[", written(log_prob(rows)), "]}"))
  } else if (ask == "sample") {
    seed <- as.integer(field(line, "\"seed\":([0-9]+)"))
    say(paste0("{\"values\":[", written(as.vector(t(draw(n, seed)))), "]}"))
  } else {
    say(paste0("{\"error\":\"cannot ", ask, "\"}"))
  }
}
