/*
 * Finds the tokens in a stream and says what became of them.
 *
 * Every token carries "~", three digits of its index in the answer and ten digits of the CLOCK_MONOTONIC microsecond at
 * which it was due, modulo 10^10. Latency is arrival minus due, so a source that falls behind counts.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_DIGITS 3
#define DUE_DIGITS 10
#define TOKEN (1 + INDEX_DIGITS + DUE_DIGITS)
#define DUE_MODULUS 10000000000LL
#define MAX_TOKENS 1000

/* The tokens of one stream; times are microseconds of CLOCK_MONOTONIC. */
typedef struct {
    uint32_t expect, distinct, next;
    int64_t due, first, last;
    char partial[TOKEN];
    int partial_length;
    uint8_t seen[MAX_TOKENS / 8];
} Tokens;

typedef struct {
    int64_t at;
    int32_t latency;
} Sample;

/* There must be room for every token that is expected. */
static Sample *samples;
static size_t sample_count, sample_room;
static uint64_t duplicated, disordered;

static int number(const char *digits, int count, int64_t *value) {
    *value = 0;
    for (int i = 0; i < count; i++) {
        if (digits[i] < '0' || digits[i] > '9') return 0;
        *value = *value * 10 + (digits[i] - '0');
    }
    return 1;
}

static void token(Tokens *t, const char *text, int64_t now) {
    int64_t index, due;
    if (!number(text + 1, INDEX_DIGITS, &index) || !number(text + 1 + INDEX_DIGITS, DUE_DIGITS, &due)) return;
    if (t->seen[index / 8] & (1 << (index % 8))) {
        duplicated++;
        return;
    }
    t->seen[index / 8] |= 1 << (index % 8);
    if (index != t->next) disordered++;
    t->next = index + 1;
    if (!t->distinct++) t->first = now;
    t->last = now;
    int64_t latency = (now - due) % DUE_MODULUS;
    if (latency < 0) latency += DUE_MODULUS;
    if (latency > DUE_MODULUS / 2) latency -= DUE_MODULUS;
    if (sample_count < sample_room) samples[sample_count++] = (Sample){now, (int32_t)latency};
}

static void scan(Tokens *t, const char *data, int64_t length, int64_t now) {
    const char *end = data + length;
    if (t->partial_length) {
        int64_t missing = TOKEN - t->partial_length, take = missing < length ? missing : length;
        memcpy(t->partial + t->partial_length, data, take);
        t->partial_length += take;
        if (t->partial_length < TOKEN) return;
        token(t, t->partial, now);
        t->partial_length = 0;
        data += take;
    }
    while (data < end && (data = memchr(data, '~', end - data))) {
        if (end - data < TOKEN) {
            t->partial_length = end - data;
            memcpy(t->partial, data, t->partial_length);
            return;
        }
        token(t, data, now);
        data += TOKEN;
    }
}

static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void print_spread(const char *name, int64_t *values, size_t count) {
    qsort(values, count, sizeof *values, by_value);
#define AT(share) (count ? values[(size_t)((count - 1) * (share))] / 1000.0 : 0.0)
    printf("\"%s_ms\": {\"p50\": %.3f, \"p90\": %.3f, ", name, AT(0.5), AT(0.9));
    printf("\"p99\": %.3f, \"max\": %.3f}, ", AT(0.99), AT(1.0));
}

/* Members of the run's JSON object. */
static void print_tokens(Tokens **streams, int count) {
    int64_t from = 0, to = INT64_MAX, first = INT64_MAX, last = 0;
    uint64_t expected = 0, distinct = 0, steady = 0;
    size_t firsts = 0;
    int never_started = 0;
    int64_t *values = malloc(sizeof(int64_t) * (sample_count + count + 1));
    for (int i = 0; i < count; i++) {
        Tokens *t = streams[i];
        expected += t->expect;
        distinct += t->distinct;
        if (!t->distinct) {
            never_started += t->expect > 0;
            continue;
        }
        values[firsts++] = t->first - t->due;
        if (t->first > from) from = t->first;
        if (t->last < to) to = t->last;
        if (t->first < first) first = t->first;
        if (t->last > last) last = t->last;
    }
    printf("\"expected\": %lu, \"tokens\": %lu, \"duplicated\": %lu, \"disordered\": %lu, ", expected, distinct,
           duplicated, disordered);
    print_spread("ttft", values, firsts);
    for (size_t i = 0; i < sample_count; i++) {
        values[i] = samples[i].latency;
        steady += samples[i].at >= from && samples[i].at <= to;
    }
    print_spread("latency", values, sample_count);
    int together = !never_started && firsts && to - from >= 250000;
    double span = last > first ? (last - first) / 1e6 : 0;
    double rate = together ? steady / ((to - from) / 1e6) : span ? distinct / span : 0;
    printf("\"all_at_once\": %s, \"steady_s\": %.3f, \"tokens_per_s\": %.1f, ", together ? "true" : "false",
           together ? (to - from) / 1e6 : 0.0, rate);
}
