/* A reader of the golden vectors that needs nothing but C: one array of one file, by its key.
 *
 *     cc -o read_vectors read_vectors.c && ./read_vectors FILE.json KEY
 *
 * prints the numbers of the top-level array KEY (z, x, log_det_forward, log_prob, ...), one a
 * line, with 17 digits. Files write an array as {"shape": [...], "decimal": [...], "hex":
 * [...]}; strtod reads the hexadecimal numbers exactly.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *slurp(const char *path)
{
    FILE *file = fopen(path, "rb");
    long size;
    char *text;
    if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) < 0) return NULL;
    rewind(file);
    text = malloc((size_t)size + 1);
    if (!text || fread(text, 1, (size_t)size, file) != (size_t)size) return NULL;
    text[size] = 0;
    fclose(file);
    return text;
}

/* The place after "key" at depth 1 of the object, so that a parameter of that name is not it. */
static const char *find(const char *text, const char *key)
{
    int depth = 0;
    size_t length = strlen(key);
    for (; *text; text++) {
        if (*text == '{' || *text == '[') depth++;
        else if (*text == '}' || *text == ']') depth--;
        else if (*text == '"') {
            const char *start = ++text;
            while (*text && *text != '"') text += *text == '\\' ? 2 : 1;
            if (!*text) return NULL;
            if (depth == 1 && (size_t)(text - start) == length && !strncmp(start, key, length)
                && text[1] == ':')
                return text + 2;
        }
    }
    return NULL;
}

int main(int count, char **given)
{
    const char *at;
    char *text, *end;
    if (count != 3 || !(text = slurp(given[1]))) {
        fprintf(stderr, "usage: read_vectors FILE.json KEY\n");
        return 2;
    }
    if (!strstr(text, "\"kind\": \"nfref golden vector\"") || !strstr(text, "\"schema\": 1,")) {
        fprintf(stderr, "%s: expected a golden vector of schema 1\n", given[1]);
        return 2;
    }
    if (!(at = find(text, given[2])) || !(at = strstr(at, "\"hex\": ["))) {
        fprintf(stderr, "%s: has no array %s\n", given[1], given[2]);
        return 2;
    }
    for (at += strlen("\"hex\": ["); *at && *at != ']'; at++)
        if (*at == '"') {
            printf("%.17g\n", strtod(at + 1, &end));
            at = end;
        }
    free(text);
    return 0;
}
