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
 * stream is open once the message is answered, or without one once the handshake is; only its tokens count as arrival.
 *
 * With flag HOLD or TRIGGER in the plan the client prints "open" once every other stream is open (over HTTP: has its
 * response header), waits for a line on stdin, then sends the triggers; without triggers it ends at that line. The last
 * line on stdout is JSON. With flag KEEP in the plan it then waits for another line before it closes anything.
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
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "chunks.h"
#include "clock.h"
#include "tokens.h"
#include "websocket.h"

enum { TRIGGER = 1, CLOSE_WHEN_COMPLETE = 2, HOLD = 4, WEBSOCKET = 8, KEEP = 16 };
enum { WAITING, CONNECTING, HEADER, BODY, DONE };

#define HEADER_MAX 8192

typedef struct {
    int fd, state, status, chunked, is_open, is_complete;
    uint32_t flags, length, sent, message_length;
    Tokens tokens;
    char *request;
    char *message;
    FrameReader frame;
    char *header;
    int header_length;
    ChunkReader chunk;
    /* Of a body that is not chunked. */
    int64_t left;
} Stream;

static Stream *streams;
static int stream_count, epoll_fd, finished, opened, waiting_for;
static uint64_t reads_with_tokens, bytes_read;
static int failed_connects, bad_status, closed_early;
static int64_t last_activity;
static char complaint[161];

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

static void complain(const char *what, int number, const char *data, int64_t length) {
    if (complaint[0]) return;
    snprintf(complaint, sizeof complaint, "%s %d %.*s", what, number, (int)(length < 120 ? length : 120), data);
}

static void lose(Stream *s, const char *what, int number, const char *data, int64_t length) {
    complain(what, number, data, length);
    closed_early++;
    finish(s);
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
        s->tokens.due = head[0];
        s->tokens.expect = head[1];
        s->flags = head[2];
        s->length = head[3];
        s->message_length = head[4];
        s->request = malloc(s->length + s->message_length);
        s->message = s->request + s->length;
        size_t content = s->length + s->message_length;
        if (s->tokens.expect > MAX_TOKENS || fread(s->request, 1, content, file) != content) die("the plan is broken");
        sample_room += s->tokens.expect;
        if (!(s->flags & TRIGGER)) waiting_for++;
    }
    fclose(file);
    samples = malloc(sizeof(Sample) * (sample_room + 1));
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

static void body(Stream *s, const char *data, int64_t length, int64_t now) {
    if (s->status < 200 || s->status > 299) complain("HTTP", s->status, data, length);
    if (!s->chunked) {
        scan(&s->tokens, data, length, now);
        if (s->left > 0 && (s->left -= length) <= 0) finish(s);
        return;
    }
    const char *piece;
    int64_t size;
    int found;
    while ((found = read_chunk(&s->chunk, &data, &length, &piece, &size)) > 0) scan(&s->tokens, piece, size, now);
    if (found < 0) finish(s);
}

/* The kernel has room for these few bytes. */
static void say(Stream *s, const char *frame, int length) {
    if (write(s->fd, frame, length) != length) complain("a frame could not be sent, errno", errno, "", 0);
}

static void frames(Stream *s, const char *data, int64_t length, int64_t now) {
    char answer[MASKED_HEAD + CONTROL_MAX];
    const char *piece;
    int64_t size;
    int kind;
    while (s->state == BODY && (kind = read_frame(&s->frame, &data, &length, &piece, &size)) != NEED_MORE) {
        if (kind == TEXT) {
            if (!s->is_open && memmem(piece, size, "\"error\"", 7)) {
                lose(s, "HTTP", s->status, piece, size);
                return;
            }
            now_open(s);
            scan(&s->tokens, piece, size, now);
        } else if (kind == PING) {
            say(s, answer, pong(answer, piece, size));
        } else if (kind == CLOSE) {
            int code = size < 2 ? 1005 : (uint8_t)piece[0] << 8 | (uint8_t)piece[1];
            lose(s, "closed by the server with", code, "", 0);
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
    s->left = content_length ? atoll(content_length + 17) : 0;
    int used = (int)(end - s->header) + 4 - before;
    int empty = content_length && !s->left;
    free(s->header);
    s->header = NULL;
    s->state = BODY;
    if (s->flags & WEBSOCKET && s->status == 101) {
        if (s->message_length) say(s, s->message, s->message_length);
        else now_open(s);
        return used;
    }
    if (s->status < 200 || s->status > 299) bad_status++;
    if (s->flags & WEBSOCKET) complain("HTTP", s->status, "instead of a socket", 19);
    else now_open(s);
    if (empty || s->status == 204 || s->flags & WEBSOCKET) finish(s);
    return used;
}

static void receive(Stream *s) {
    static char buffer[1 << 16];
    ssize_t length = read(s->fd, buffer, sizeof buffer);
    int64_t now = now_us();
    char *data = buffer;
    if (length < 0 && errno == EAGAIN) return;
    if (length <= 0) {
        if (s->flags & WEBSOCKET) lose(s, "cut off after tokens:", s->tokens.distinct, "", 0);
        else finish(s);
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
    uint32_t before = s->tokens.distinct;
    if (s->status == 101) frames(s, data, length, now);
    else body(s, data, length, now);
    if (s->tokens.distinct != before) {
        reads_with_tokens++;
        last_activity = now;
    }
    if (s->state == BODY && s->tokens.distinct >= s->tokens.expect) complete(s);
}

static void report(int64_t started, double cpu) {
    Tokens **measured = malloc(sizeof(Tokens *) * (stream_count + 1));
    int count = 0, unfinished = 0;
    for (int i = 0; i < stream_count; i++) {
        Stream *s = &streams[i];
        if (s->flags & TRIGGER) continue;
        measured[count++] = &s->tokens;
        unfinished += s->state != DONE && !s->is_complete;
    }
    printf("{\"streams\": %d, \"opened\": %d, \"failed_connects\": %d, ", stream_count, opened, failed_connects);
    printf("\"bad_status\": %d, \"closed_early\": %d, ", bad_status, closed_early);
    print_tokens(measured, count);
    printf("\"reads_with_tokens\": %lu, \"bytes\": %lu, ", reads_with_tokens, bytes_read);
    for (char *c = complaint; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < 32) *c = ' ';
    printf("\"unfinished\": %d, \"complaint\": \"%s\", ", unfinished, complaint);
    printf("\"wall_s\": %.3f, \"cpu_s\": %.4f}\n", (now_us() - started) / 1e6, cpu_seconds() - cpu);
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
    for (int i = 0; i < stream_count; i++) streams[i].tokens.due += started;
    struct epoll_event events[512], input = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
    while (finished < stream_count) {
        int64_t now = now_us();
        if (now - started > limit || (released && now - last_activity > quiet)) break;
        while (next < target && streams[next].tokens.due <= now) open_stream(&streams[next], next, port), next++;
        if (holding && !announced && next == target && waiting_for == 0) {
            announced = 1;
            printf("open\n");
            fflush(stdout);
            epoll_ctl(epoll_fd, EPOLL_CTL_ADD, 0, &input);
        }
        int64_t wait = next < target ? (streams[next].tokens.due - now + 999) / 1000 : 100;
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
                    streams[t].tokens.due = now_us();
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
