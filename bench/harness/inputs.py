# SPDX-License-Identifier: BSD-2-Clause
"""Inputs of the workloads, generated from fixed seeds: text, an SQL script, a C file."""
import os
import random

LETTERS = "etaoinshrdlucmfwypvbgkjqxz"


def write_once(path, parts):
    """Writes the file from an iterable of strings if it is not there yet."""
    if not os.path.exists(path):
        with open(path + ".new", "w", encoding="ascii") as f:
            f.writelines(parts)
        os.rename(path + ".new", path)
    return path


def text(folder, megabytes):
    """Words with natural-looking frequencies, some numbers and repeated lines, as in logs."""
    def parts():
        rng = random.Random(1)
        words = ["".join(rng.choices(LETTERS, weights=range(26, 0, -1), k=rng.randint(2, 11)))
                 for _ in range(8000)]
        weights = [1.0 / (i + 3) for i in range(len(words))]
        size, lines = 0, []
        while size < megabytes * 1000000:
            line = " ".join(rng.choices(words, weights, k=1000))
            if rng.random() < 0.3:
                line = f"{rng.randrange(10 ** 9):09d} {line} {rng.random()}"
            if lines and rng.random() < 0.1:
                line = rng.choice(lines)[:3000]
            lines = lines[-20:] + [line]
            size += len(line) + 1
            yield line + "\n"
    return write_once(os.path.join(folder, f"text-{megabytes}.txt"), parts())


def sql(folder, rows):
    def parts():
        rng = random.Random(2)
        yield "create table items(id integer primary key, kind text, price real, stock int);\n"
        yield "create table orders(id integer primary key, item int, amount int, day text);\nbegin;\n"
        for i in range(rows):
            yield (f"insert into items values({i},'kind{rng.randrange(40)}',"
                   f"{rng.randrange(100000) / 100},{rng.randrange(500)});\n")
            yield (f"insert into orders values({i},{rng.randrange(rows)},{rng.randrange(9)},"
                   f"'2020-{rng.randrange(12) + 1:02d}-{rng.randrange(28) + 1:02d}');\n")
        yield "commit;\ncreate index by_kind on items(kind);\ncreate index by_item on orders(item);\n"
        for i in range(rows // 100):
            yield (f"select count(*), sum(amount) from orders where item between {i * 50} "
                   f"and {i * 50 + 400};\n")
            yield f"update items set stock = stock + 1 where id % 997 = {i % 997};\n"
        yield ("select kind, count(*), avg(price), group_concat(distinct stock % 7) from items "
               "group by kind order by 3;\n")
        yield ("select substr(day, 1, 7) m, sum(amount * price) from orders join items on "
               "items.id = orders.item group by m order by m;\n")
        yield "select count(*) from items where kind like '%d1%' and price > 500 or stock in (1,5,9);\n"
    return write_once(os.path.join(folder, f"script-{rows}.sql"), parts())


C_START = """#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node { struct node *left, *right; uint64_t key; int value; char name[16]; };
struct buffer { char *data; size_t used, size; };
extern int buffer_grow(struct buffer *b, size_t n);
extern void report(const char *what, long value);
"""

C_PIECES = ["""
static struct node *insert_@(struct node **root, uint64_t key, int value)
{
    while (*root != NULL) {
        if ((*root)->key == key) { (*root)->value += value; return *root; }
        root = key < (*root)->key ? &(*root)->left : &(*root)->right;
    }
    *root = calloc(1, sizeof(**root));
    if (*root == NULL) { return NULL; }
    (*root)->key = key ^ %A;
    (*root)->value = value;
    snprintf((*root)->name, sizeof((*root)->name), "n%d_%d", value, %B);
    return *root;
}

long sum_@(const struct node *n, int depth)
{
    if (n == NULL || depth > %B) { return 0; }
    return n->value * %C + sum_@(n->left, depth + 1) - sum_@(n->right, depth + 1);
}

long build_@(const uint32_t *keys, size_t count)
{
    struct node *root = NULL;
    for (size_t i = 0; i < count; i++) {
        if (insert_@(&root, keys[i] * %Aull, (int)(i % %C)) == NULL) { report("memory", (long)i); }
    }
    return sum_@(root, 0);
}
""", """
int parse_@(const char *s, struct buffer *out)
{
    int state = 0, depth = 0;
    for (; *s != '\\0'; s++) {
        switch (state) {
        case 0:
            if (*s == '"') { state = 1; } else if (*s == '{') { depth++; } else if (*s == '}') {
                if (--depth < 0) { return -1; }
            } else if (*s >= '0' && *s <= '9') { state = 3; depth += (*s - '0') % %B; }
            break;
        case 1:
            if (*s == '\\\\') { state = 2; } else if (*s == '"') { state = 0; }
            else if (out->used < out->size || buffer_grow(out, %C) == 0) {
                out->data[out->used++] = (char)(*s ^ %B);
            }
            break;
        case 2: state = 1; break;
        case 3:
            if (*s == '.') { state = 4; } else if (*s < '0' || *s > '9') { state = 0; }
            break;
        case 4:
            switch (*s) {
            case 'e': case 'E': state = 5; break;
            case '-': case '+': return -%C;
            default: if (*s < '0' || *s > '9') { state = 0; s--; }
            }
            break;
        default: state = depth > %B ? 0 : 3;
        }
    }
    return state == 0 ? depth : -state;
}
""", """
void filter_@(double *restrict out, const double *restrict in, int width, int height)
{
    static const double weights[9] = {%B / 16.0, .2, %C / 32.0, .1, .5, .1, .25, .3, .05};
    for (int y = 1; y < height - 1; y++) {
        for (int x = 1; x < width - 1; x++) {
            double sum = 0;
            for (int dy = -1; dy <= 1; dy++) {
                for (int dx = -1; dx <= 1; dx++) {
                    sum += weights[(dy + 1) * 3 + dx + 1] * in[(y + dy) * width + x + dx];
                }
            }
            out[y * width + x] = sum < 0 ? 0 : sum > %C ? %C : sum;
        }
    }
}

uint32_t checksum_@(const uint8_t *p, size_t n)
{
    uint32_t a = %A, b = %Bu;
    while (n >= 4) {
        a = (a + p[0] + ((uint32_t)p[1] << 8)) * 16777619u;
        b = (b ^ (p[2] | (uint32_t)p[3] << 16)) + (a >> %B);
        p += 4; n -= 4;
    }
    while (n-- > 0) { a = (a << 5 | a >> 27) ^ *p++; }
    return a ^ b * %Cu;
}
""", """
struct table_@ { struct entry_@ { uint32_t hash; int32_t next; long value; } *entries;
                 int32_t *heads; uint32_t mask, used; };

static int rehash_@(struct table_@ *t)
{
    uint32_t mask = t->mask * 2 + 1;
    int32_t *heads = malloc((mask + 1) * sizeof(*heads));
    struct entry_@ *e = realloc(t->entries, (mask + 1) * sizeof(*e));
    if (heads == NULL || e == NULL) { free(heads); return -1; }
    memset(heads, 0xff, (mask + 1) * sizeof(*heads));
    for (uint32_t i = 0; i < t->used; i++) {
        e[i].next = heads[e[i].hash & mask];
        heads[e[i].hash & mask] = (int32_t)i;
    }
    free(t->heads);
    t->heads = heads; t->entries = e; t->mask = mask;
    return 0;
}

long *find_@(struct table_@ *t, const char *key)
{
    uint32_t h = %A;
    for (const char *s = key; *s != '\\0'; s++) { h = h * 31 + (unsigned char)*s + %B; }
    for (int32_t i = t->heads[h & t->mask]; i >= 0; i = t->entries[i].next) {
        if (t->entries[i].hash == h) { return &t->entries[i].value; }
    }
    if (t->used > t->mask * 3 / 4 && rehash_@(t) != 0) { return NULL; }
    t->entries[t->used] = (struct entry_@){h, t->heads[h & t->mask], %C};
    t->heads[h & t->mask] = (int32_t)t->used;
    return &t->entries[t->used++].value;
}
""", """
typedef long (*step_@)(long, long);
static long one_@(long a, long b) { return a / (b | 1) + %B; }
static long two_@(long a, long b) { return (a << (b & 7)) - %A; }
static long three_@(long a, long b) { return a > b ? a % (b * b + 1) : b - a * %C; }

long machine_@(const uint8_t *code, size_t n, long *stack)
{
    static const step_@ steps[] = {one_@, two_@, three_@};
    long *sp = stack, acc = 0;
    for (size_t pc = 0; pc < n; pc++) {
        switch (code[pc] >> 4) {
        case 0: *sp++ = acc; break;
        case 1: if (sp > stack) { acc = *--sp; } break;
        case 2: acc += code[pc] & 15; break;
        case 3: acc = steps[code[pc] % 3](acc, sp > stack ? sp[-1] : %B); break;
        case 4: if (acc < 0) { pc += code[pc] & 15; } break;
        case 5: if (acc > %C && pc > 16) { pc -= code[pc] & 15; acc /= 2; } break;
        case 6: { long t = acc; acc = sp > stack ? sp[-1] : 0; if (sp > stack) { sp[-1] = t; } break; }
        case 7: report("machine @", acc); break;
        default: acc ^= (long)code[pc] << (code[pc] & 31);
        }
    }
    return acc;
}
"""]


def c_source(folder, pieces):
    def parts():
        rng = random.Random(3)
        yield C_START
        for i in range(pieces):
            piece = C_PIECES[i % len(C_PIECES)]
            for mark, value in (("@", i), ("%A", hex(rng.randrange(1 << 30))),
                                ("%B", rng.randrange(3, 25)), ("%C", rng.randrange(100, 2000))):
                # "% %C" is a remainder; only the marks themselves are replaced
                piece = piece.replace(mark, str(value))
            yield piece
    return write_once(os.path.join(folder, f"source-{pieces}.c"), parts())
