/* A flow in C that nfref check --process asks: x_i = exp(s_i) z_i + a sin(z_(i-1)).
 *
 *     cc -O2 -o flow flow.c -lm && nfref check --process ./flow
 *
 * Requests have their keys in the order ask, n, seed, rows, and no spaces, so no library is
 * needed to read them. `./flow wrong` leaves the last log-scale out of log_det.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIM 3
static const double log_scale[DIM] = {0.5, -0.25, 1.0};
static const double wave = 0.75;

static void forward(const double *z, double *x)
{
    for (int i = 0; i < DIM; i++)
        x[i] = exp(log_scale[i]) * z[i] + (i ? wave * sin(z[i - 1]) : 0.0);
}

static void inverse(const double *x, double *z)
{
    for (int i = 0; i < DIM; i++)
        z[i] = (x[i] - (i ? wave * sin(z[i - 1]) : 0.0)) * exp(-log_scale[i]);
}

static void print_numbers(const char *name, const double *numbers, size_t count)
{
    printf("\"%s\":[", name);
    for (size_t i = 0; i < count; i++)
        printf(i ? ",\"%a\"" : "\"%a\"", numbers[i]);       /* %a: hexadecimal, nan, inf */
    printf("]");
}

int main(int argc, char **argv)
{
    int wrong = argc > 1 && !strcmp(argv[1], "wrong");
    double log_det = 0.0;
    for (int i = 0; i < DIM - wrong; i++)
        log_det += log_scale[i];
    printf("{\"nfref\":1,\"dim\":%d,\"can\":[\"forward\",\"inverse\"]}\n", DIM);
    fflush(stdout);

    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        int back = strstr(line, "\"ask\":\"inverse\"") != NULL;
        char *at = strstr(line, "\"n\":");
        size_t n = at ? strtoul(at + 4, NULL, 10) : 0;
        at = strstr(line, "\"rows\":[");
        if (!at || (!back && !strstr(line, "\"ask\":\"forward\""))) {
            printf("{\"error\":\"expected forward or inverse\"}\n");
            fflush(stdout);
            continue;
        }
        at += 8;
        double *rows = malloc((n * DIM + 1) * sizeof(double));
        double *values = malloc((n * DIM + 1) * sizeof(double));
        double *log_dets = malloc((n + 1) * sizeof(double));
        for (size_t i = 0; i < n * DIM; i++) {
            rows[i] = strtod(at + 1, &at);                  /* after the quote; reads %a */
            at += 2;                                        /* the quote and the comma */
        }
        for (size_t k = 0; k < n; k++) {
            (back ? inverse : forward)(rows + k * DIM, values + k * DIM);
            log_dets[k] = back ? -log_det : log_det;
        }
        printf("{");
        print_numbers("values", values, n * DIM);
        printf(",");
        print_numbers("log_det", log_dets, n);
        printf("}\n");
        fflush(stdout);
        free(rows);
        free(values);
        free(log_dets);
    }
    free(line);
    return 0;
}
