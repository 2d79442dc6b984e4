/*
 * Load client of the benchmarks: one thread, epoll, no allocation per token.
 *
 *   client PLAN PORT CORE LIMIT QUIET
 *
 * PLAN is a file of requests, each five little-endian uint32 (microseconds after the start at which it is sent, tokens
 * that it must bring, flags, length of the request, length of the message) and the bytes of both. LIMIT ends a run that
 * takes longer, in seconds; QUIET ends one in which nothing has arrived for so long. CORE is the core that it stays on,
 * -1 for any.
 *
 * With flag WEBSOCKET the request is a handshake, and the message is a frame, masked already, that follows it. Such a
 * stream counts as open once the message is answered, or without one once the handshake is; only tokens count as arrival.
 *
 * Every token carries "~", three digits of its index in the answer and ten digits of the CLOCK_MONOTONIC microsecond at
 * which it was due, modulo 10^10. Latency is arrival minus due, so a source that falls behind counts.
 *
 * With flag HOLD or TRIGGER in the plan the client prints "open" once every other stream is open, which over HTTP is when
 * it has its response header, waits for a line on stdin, then sends the triggers; without triggers it ends at that line.
 * The last line on stdout is JSON. With flag KEEP in the plan it then waits for another line before it closes anything.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "websocket.h"

enum { TRIGGER = 1, CLOSE_WHEN_COMPLETE = 2, HOLD = 4, WEBSOCKET = 8, KEEP = 16 };
enum { WAITING, CONNECTING, HEADER, BODY, DONE };
enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_CRLF, CHUNK_TRAILER };

#define INDEX_DIGITS 3
#define DUE_DIGITS 10
#define TOKEN (1 + INDEX_DIGITS + DUE_DIGITS)
#define DUE_MODULUS 10000000000LL
#define MAX_TOKENS 1000
#define HEADER_MAX 8192

typedef struct {
    int fd, state, status, chunked, is_open, is_complete;
    uint32_t expect, flags, length, sent, message_length;
    int64_t due, first, last;
    char *request;
    char *message;
    FrameReader frame;
    char *header;
    int header_length;
    int chunk_state;
    int64_t chunk_left;
    char partial[TOKEN];
    int partial_length;
    uint32_t distinct, next;
    uint8_t seen[MAX_TOKENS / 8];
} Stream;

typedef struct {
    int64_t at;
    int32_t latency;
} Sample;

static Stream *streams;
static int stream_count, epoll_fd, finished, opened, waiting_for;
static Sample *samples;
static size_t sample_count, sample_room;
static uint64_t duplicated, disordered, reads_with_tokens, bytes_read;
static int failed_connects, bad_status, closed_early;
static int64_t last_activity;
static char complaint[161];

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static double cpu_seconds(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static void die(const char *what) {
    fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void finish(Stream *s) {
    if (s->state == DONE) return;
    if (s->fd >= 0) close(s->fd);
    s->fd = -1;
    if (!s->is_open && !(s->flags & TRIGGER)) waiting_for--;
    s->state = DONE;
    finished += !s->is_complete;
}

static void complain(const char *what, const char *data, int64_t length) {
    if (!complaint[0]) snprintf(complaint, sizeof complaint, "%s %.*s", what, (int)(length < 120 ? length : 120), data);
}

/* All its tokens are there. */
static void complete(Stream *s) {
    if (s->flags & CLOSE_WHEN_COMPLETE) finish(s);
    else if (s->flags & KEEP && !s->is_complete) s->is_complete = 1, finished++;
}

static void now_open(Stream *s) {
    if (s->is_open || s->flags & TRIGGER) return;
    s->is_open = 1;
    opened++;
    waiting_for--;
}

static void read_plan(const char *path) {
    FILE *file = fopen(path, "rb");
    uint32_t head[5];
    if (!file) die(path);
    while (fread(head, sizeof head, 1, file) == 1) {
        streams = realloc(streams, sizeof(Stream) * (stream_count + 1));
        Stream *s = &streams[stream_count++];
        memset(s, 0, sizeof *s);
        s->fd = -1;
        s->due = head[0];
        s->expect = head[1];
        s->flags = head[2];
        s->length = head[3];
        s->message_length = head[4];
        s->request = malloc(s->length + s->message_length);
        s->message = s->request + s->length;
        size_t content = s->length + s->message_length;
        if (s->expect > MAX_TOKENS || fread(s->request, 1, content, file) != content) die("the plan is broken");
        sample_room += s->expect + 16;
        if (!(s->flags & TRIGGER)) waiting_for++;
    }
    fclose(file);
    samples = malloc(sizeof(Sample) * sample_room);
}

static void open_stream(Stream *s, int index, uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct epoll_event event = {.events = EPOLLOUT, .data.u32 = index};
    int one = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->state = CONNECTING;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0) die("socket");
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(s->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) {
        failed_connects++;
        finish(s);
        return;
    }
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, s->fd, &event) < 0) die("epoll_ctl");
}

static void send_request(Stream *s, int index) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u32 = index};
    ssize_t sent = write(s->fd, s->request + s->sent, s->length - s->sent);
    if (sent < 0) {
        if (errno == EAGAIN) return;
        failed_connects++;
        finish(s);
        return;
    }
    s->sent += sent;
    if (s->sent < s->length) return;
    s->state = HEADER;
    s->header = malloc(HEADER_MAX);
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, s->fd, &event);
}

static int number(const char *digits, int count, int64_t *value) {
    *value = 0;
    for (int i = 0; i < count; i++) {
        if (digits[i] < '0' || digits[i] > '9') return 0;
        *value = *value * 10 + (digits[i] - '0');
    }
    return 1;
}

static void token(Stream *s, const char *text, int64_t now) {
    int64_t index, due;
    if (!number(text + 1, INDEX_DIGITS, &index) || !number(text + 1 + INDEX_DIGITS, DUE_DIGITS, &due)) return;
    if (s->seen[index / 8] & (1 << (index % 8))) {
        duplicated++;
        return;
    }
    s->seen[index / 8] |= 1 << (index % 8);
    if (index != s->next) disordered++;
    s->next = index + 1;
    if (!s->distinct++) s->first = now;
    s->last = last_activity = now;
    int64_t latency = (now - due) % DUE_MODULUS;
    if (latency < 0) latency += DUE_MODULUS;
    if (latency > DUE_MODULUS / 2) latency -= DUE_MODULUS;
    if (sample_count < sample_room) samples[sample_count++] = (Sample){now, (int32_t)latency};
}

static void scan(Stream *s, const char *data, int64_t length, int64_t now) {
    const char *end = data + length;
    if (s->partial_length) {
        int64_t missing = TOKEN - s->partial_length, take = missing < length ? missing : length;
        memcpy(s->partial + s->partial_length, data, take);
        s->partial_length += take;
        if (s->partial_length < TOKEN) return;
        token(s, s->partial, now);
        s->partial_length = 0;
        data += take;
    }
    while (data < end && (data = memchr(data, '~', end - data))) {
        if (end - data < TOKEN) {
            s->partial_length = end - data;
            memcpy(s->partial, data, s->partial_length);
            return;
        }
        token(s, data, now);
        data += TOKEN;
    }
}

static void body(Stream *s, const char *data, int64_t length, int64_t now) {
    if (s->status < 200 || s->status > 299) {
        char status[8];
        snprintf(status, sizeof status, "%d", s->status);
        complain(status, data, length);
    }
    if (!s->chunked) {
        scan(s, data, length, now);
        if (s->chunk_left > 0 && (s->chunk_left -= length) <= 0) finish(s);
        return;
    }
    while (length > 0) {
        if (s->chunk_state == CHUNK_DATA) {
            int64_t take = s->chunk_left < length ? s->chunk_left : length;
            scan(s, data, take, now);
            data += take, length -= take, s->chunk_left -= take;
            if (!s->chunk_left) s->chunk_state = CHUNK_CRLF;
            continue;
        }
        char c = *data++;
        length--;
        if (s->chunk_state == CHUNK_SIZE) {
            if (c >= '0' && c <= '9') s->chunk_left = s->chunk_left * 16 + (c - '0');
            else if ((c | 32) >= 'a' && (c | 32) <= 'f') s->chunk_left = s->chunk_left * 16 + ((c | 32) - 'a' + 10);
            else if (c == '\n') s->chunk_state = s->chunk_left ? CHUNK_DATA : CHUNK_TRAILER;
        } else if (c == '\n') {
            if (s->chunk_state == CHUNK_TRAILER) {
                finish(s);
                return;
            }
            s->chunk_state = CHUNK_SIZE;
        }
    }
}

/* Once the kernel has room for a whole run's requests it has it for these few bytes, too. */
static void say(Stream *s, const char *frame, int length) {
    if (write(s->fd, frame, length) != length) complain("a frame could not be sent", "", 0);
}

static void frames(Stream *s, const char *data, int64_t length, int64_t now) {
    char answer[MASKED_HEAD + CONTROL_MAX];
    const char *piece;
    int64_t size;
    int kind;
    while (s->state == BODY && (kind = read_frame(&s->frame, &data, &length, &piece, &size)) != NEED_MORE) {
        if (kind == TEXT) {
            if (!s->is_open && memmem(piece, size, "\"error\"", 7)) complain("refused:", piece, size);
            now_open(s);
            scan(s, piece, size, now);
        } else if (kind == PING) {
            say(s, answer, pong(answer, piece, size));
        } else if (kind == CLOSE) {
            char code[8];
            int value = size < 2 ? 1005 : (uint8_t)piece[0] << 8 | (uint8_t)piece[1];
            complain("closed by the server:", code, snprintf(code, sizeof code, "%d", value));
            closed_early++;
            finish(s);
        }
    }
}

static int header(Stream *s, const char *data, int length) {
    int before = s->header_length, take = HEADER_MAX - 1 - before < length ? HEADER_MAX - 1 - before : length;
    memcpy(s->header + before, data, take);
    s->header_length += take;
    s->header[s->header_length] = 0;
    char *end = memmem(s->header, s->header_length, "\r\n\r\n", 4);
    if (!end) return s->header_length < HEADER_MAX - 1 ? take : -1;
    end[2] = 0;
    s->status = atoi(s->header + 9);
    s->chunked = strcasestr(s->header, "\r\ntransfer-encoding: chunked") != NULL;
    char *content_length = strcasestr(s->header, "\r\ncontent-length:");
    s->chunk_left = content_length ? atoll(content_length + 17) : 0;
    int used = (int)(end - s->header) + 4 - before;
    int empty = content_length && !s->chunk_left;
    free(s->header);
    s->header = NULL;
    s->state = BODY;
    if (s->flags & WEBSOCKET && s->status == 101) {
        if (s->message_length) say(s, s->message, s->message_length);
        else now_open(s);
        return used;
    }
    if (s->status < 200 || s->status > 299) bad_status++;
    now_open(s);
    if (empty || s->status == 204) finish(s);
    return used;
}

static void receive(Stream *s) {
    static char buffer[1 << 16];
    ssize_t length = read(s->fd, buffer, sizeof buffer);
    int64_t now = now_us();
    char *data = buffer;
    if (length < 0 && errno == EAGAIN) return;
    if (length <= 0) {
        if (s->flags & WEBSOCKET) complain("cut off by the server", "", 0), closed_early++;
        finish(s);
        return;
    }
    if (!(s->flags & WEBSOCKET)) last_activity = now;
    bytes_read += length;
    if (s->state == HEADER) {
        int used = header(s, data, length);
        if (used < 0) {
            finish(s);
            return;
        }
        data += used, length -= used;
        if (s->state != BODY || !length) return;
    }
    uint32_t before = s->distinct;
    if (s->status == 101) frames(s, data, length, now);
    else body(s, data, length, now);
    if (s->distinct != before) reads_with_tokens++;
    if (s->state == BODY && s->distinct >= s->expect) complete(s);
}

static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void print_spread(const char *name, int64_t *values, size_t count) {
    qsort(values, count, sizeof *values, by_value);
#define AT(share) (count ? values[(size_t)((count - 1) * (share))] / 1000.0 : 0.0)
    printf("\"%s_ms\": {\"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, \"max\": %.3f}, ", name, AT(0.5), AT(0.9), AT(0.99),
           AT(1.0));
}

static void report(int64_t started, double cpu) {
    int64_t now = now_us(), from = 0, to = INT64_MAX, first = INT64_MAX, last = 0;
    uint64_t expected = 0, distinct = 0, steady = 0;
    size_t firsts = 0;
    int unfinished = 0, never_started = 0;
    int64_t *values = malloc(sizeof(int64_t) * (sample_count + stream_count + 1));
    for (int i = 0; i < stream_count; i++) {
        Stream *s = &streams[i];
        if (s->flags & TRIGGER) continue;
        expected += s->expect;
        distinct += s->distinct;
        unfinished += s->state != DONE && !s->is_complete;
        if (!s->distinct) {
            never_started += s->expect > 0;
            continue;
        }
        values[firsts++] = s->first - s->due;
        if (s->first > from) from = s->first;
        if (s->last < to) to = s->last;
        if (s->first < first) first = s->first;
        if (s->last > last) last = s->last;
    }
    printf("{\"streams\": %d, \"opened\": %d, \"failed_connects\": %d, \"bad_status\": %d, \"closed_early\": %d, ", stream_count,
           opened, failed_connects, bad_status, closed_early);
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
    printf("\"reads_with_tokens\": %lu, \"bytes\": %lu, \"unfinished\": %d, ", reads_with_tokens, bytes_read, unfinished);
    for (char *c = complaint; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < 32) *c = ' ';
    printf("\"complaint\": \"%s\", \"wall_s\": %.3f, \"cpu_s\": %.4f}\n", complaint, (now - started) / 1e6,
           cpu_seconds() - cpu);
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: client PLAN PORT CORE LIMIT QUIET\n");
        return 2;
    }
    read_plan(argv[1]);
    int port = atoi(argv[2]), core = atoi(argv[3]), next = 0, holding = 0, keep = 0, triggers = 0;
    int64_t limit = atof(argv[4]) * 1e6, quiet = atof(argv[5]) * 1e6;
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(core < 0 ? 0 : core, &cores);
    if (core >= 0 && sched_setaffinity(0, sizeof cores, &cores) < 0) die("sched_setaffinity");
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < stream_count; i++) {
        holding |= streams[i].flags & (HOLD | TRIGGER);
        triggers += streams[i].flags & TRIGGER ? 1 : 0;
        keep |= streams[i].flags & KEEP;
    }
    int announced = 0, released = !holding, target = stream_count - triggers;
    int64_t started = now_us() + 20000;
    double cpu = cpu_seconds();
    last_activity = started;
    for (int i = 0; i < stream_count; i++) streams[i].due += started;
    struct epoll_event events[512], input = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
    while (finished < stream_count) {
        int64_t now = now_us();
        if (now - started > limit || (released && now - last_activity > quiet)) break;
        while (next < target && streams[next].due <= now) open_stream(&streams[next], next, port), next++;
        if (holding && !announced && next == target && waiting_for == 0) {
            announced = 1;
            printf("open\n");
            fflush(stdout);
            epoll_ctl(epoll_fd, EPOLL_CTL_ADD, 0, &input);
        }
        int64_t wait = next < target ? (streams[next].due - now + 999) / 1000 : 100;
        int ready = epoll_wait(epoll_fd, events, 512, wait > 100 ? 100 : (int)wait);
        for (int i = 0; i < ready; i++) {
            uint32_t index = events[i].data.u32;
            if (index == UINT32_MAX) {
                char line[64];
                if (read(0, line, sizeof line) < 0) die("stdin");
                epoll_ctl(epoll_fd, EPOLL_CTL_DEL, 0, NULL);
                released = 1;
                last_activity = now_us();
                if (!triggers) goto end;
                for (int t = target; t < stream_count; t++) {
                    streams[t].due = now_us();
                    open_stream(&streams[t], t, port);
                }
                continue;
            }
            Stream *s = &streams[index];
            if (s->state == CONNECTING) send_request(s, index);
            else if (s->state != DONE) receive(s);
        }
    }
end:
    report(started, cpu);
    fflush(stdout);
    char line[64];
    if (keep && read(0, line, sizeof line) < 0) die("stdin");
    return 0;
}
