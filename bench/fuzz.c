/* SPDX-License-Identifier: BSD-2-Clause
 * fuzz.c -- what a fuzzer does: one process, a parser, 650 small inputs again and again.
 * Usage: fuzz PASSES [SLICES]; with slices a line "slice: N NANOSECONDS-OF-PROCESSOR-TIME" for
 * each, so that a slow-down over time is seen. */
#include "kernel.h"

#include <string.h>

#define INPUTS 650
#define MAX_DEPTH 40

typedef struct Value {
    char kind;
    double number;
    char *text;
    struct Value *first, *next;
} Value;

typedef struct Parser {
    const char *at, *end;
    int depth, failed;
} Parser;

static char inputs[INPUTS][512];
static size_t input_size[INPUTS];

static Value *parse_value(Parser *p);

static void free_value(Value *v)
{
    while (v != NULL) {
        Value *next = v->next;

        free_value(v->first);
        free(v->text);
        free(v);
        v = next;
    }
}

static int peek(Parser *p)
{
    while (p->at < p->end && strchr(" \t\n", *p->at) != NULL && *p->at != '\0') {
        p->at++;
    }
    return p->at < p->end ? (unsigned char)*p->at : -1;
}

static Value *new_value(char kind)
{
    Value *v = calloc(1, sizeof(*v));

    if (v == NULL) {
        kernel_die("calloc");
    }
    v->kind = kind;
    return v;
}

static Value *parse_text(Parser *p)
{
    const char *start = ++p->at;
    Value *v = new_value('s');

    while (p->at < p->end && *p->at != '"') {
        p->at++;
    }
    v->text = strndup(start, (size_t)(p->at - start));
    p->failed |= p->at == p->end;
    p->at += p->at < p->end;
    return v;
}

static Value *parse_number(Parser *p)
{
    char word[32];
    size_t n = strspn(p->at, "+-.0123456789e");
    Value *v = new_value('n');

    if (n == 0 || n >= sizeof(word)) {
        p->failed = 1;
        return v;
    }
    memcpy(word, p->at, n);
    word[n] = '\0';
    v->number = strtod(word, NULL);
    p->at += n;
    return v;
}

/* "[a, b]" and "{k: v}"; a broken list ends where it breaks. */
static Value *parse_list(Parser *p, int close)
{
    Value *v = new_value((char)close), **tail = &v->first;

    p->at++;
    if (++p->depth > MAX_DEPTH) {
        p->failed = 1;
    }
    while (!p->failed && peek(p) != close) {
        *tail = parse_value(p);
        tail = &(*tail)->next;
        if (peek(p) == ',' || peek(p) == ':') {
            p->at++;
        } else if (peek(p) != close) {
            p->failed = 1;
        }
    }
    p->at += !p->failed;
    p->depth--;
    return v;
}

static Value *parse_value(Parser *p)
{
    switch (peek(p)) {
    case '[': return parse_list(p, ']');
    case '{': return parse_list(p, '}');
    case '"': return parse_text(p);
    default: return parse_number(p);
    }
}

static uint64_t hash_value(const Value *v)
{
    uint64_t h = 1469598103934665603ULL;
    char number[40];
    const char *s;

    for (; v != NULL; v = v->next) {
        if (v->kind == 'n') {
            snprintf(number, sizeof(number), "%.6g", v->number);
        }
        for (s = v->text != NULL ? v->text : v->kind == 'n' ? number : ""; *s != '\0'; s++) {
            h = (h ^ (unsigned char)*s) * 1099511628211ULL;
        }
        h = (h ^ (unsigned char)v->kind) * 1099511628211ULL + hash_value(v->first);
    }
    return h;
}

static void generate(char **at, char *end, int depth, uint64_t *seed)
{
    unsigned k = (unsigned)(kernel_random(seed) % (depth > 4 ? 4 : 8)), n, i;

    if (end - *at < 64) {
        k = 0;
    }
    if (k < 2) {
        *at += sprintf(*at, "%d.%u", (int)(kernel_random(seed) % 2001) - 1000,
                       (unsigned)(kernel_random(seed) % 1000));
    } else if (k < 4) {
        *at += sprintf(*at, "\"w%llx\"", (unsigned long long)kernel_random(seed) >> 40);
    } else {
        n = 1 + (unsigned)(kernel_random(seed) % 6);
        *(*at)++ = k & 1 ? '[' : '{';
        for (i = 0; i < n && end - *at > 48; i++) {
            *at += i > 0 ? sprintf(*at, k & 1 ? ", " : " : ") : 0;
            generate(at, end, depth + 1, seed);
        }
        *(*at)++ = k & 1 ? ']' : '}';
    }
}

static void generate_inputs(void)
{
    uint64_t seed = 0x2545f4914f6cdd1dULL;
    int i;

    for (i = 0; i < INPUTS; i++) {
        char *at = inputs[i];

        *at++ = '[';
        while (at < inputs[i] + 200) {
            generate(&at, inputs[i] + 400, 0, &seed);
            *at++ = ',';
        }
        at[-1] = i % 8 == 0 ? '}' : ']'; /* some are broken */
        *at = '\0';
        input_size[i] = (size_t)(at - inputs[i]);
    }
}

static uint64_t one_pass(void)
{
    uint64_t sum = 0;
    int i;

    for (i = 0; i < INPUTS; i++) {
        Parser p = {inputs[i], inputs[i] + input_size[i], 0, 0};
        Value *v = parse_value(&p);

        sum = sum * 31 + hash_value(v) + (uint64_t)p.failed;
        free_value(v);
    }
    return sum;
}

int main(int argc, char **argv)
{
    int passes = argc > 1 ? atoi(argv[1]) : 100, slices = argc > 2 ? atoi(argv[2]) : 0, s, r;
    KernelClock c;
    uint64_t sum = 0;

    generate_inputs();
    c = kernel_begin();
    for (s = 0; s < (slices > 0 ? slices : 1); s++) {
        double start = kernel_seconds(CLOCK_PROCESS_CPUTIME_ID);

        for (r = 0; r < passes; r++) {
            sum = sum * 31 + one_pass();
        }
        if (slices > 0) {
            printf("slice: %d %.0f\n", s,
                   (kernel_seconds(CLOCK_PROCESS_CPUTIME_ID) - start) * 1e9 / passes / INPUTS);
            fflush(stdout);
        }
    }
    printf("%llu\n", (unsigned long long)sum);
    kernel_end(c, (double)passes * INPUTS * (slices > 0 ? slices : 1));
    return 0;
}
