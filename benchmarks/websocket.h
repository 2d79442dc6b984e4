/* Reads the frames of a WebSocket server (RFC 6455, nothing negotiated), in whatever pieces they arrive. */
#include <stdint.h>
#include <string.h>

enum { NEED_MORE, TEXT, PING, CLOSE, OTHER };
enum { OPCODE_CLOSE = 8, OPCODE_PING = 9, OPCODE_PONG = 10 };

#define CONTROL_MAX 125
#define MASKED_HEAD 6

typedef struct {
    uint8_t head[10];
    int head_length, in_payload;
    uint64_t left;
    char control[CONTROL_MAX];
    int control_length;
} FrameReader;

static int head_size(const FrameReader *r) {
    if (r->head_length < 2) return 2;
    int length = r->head[1] & 127;
    return length == 126 ? 4 : length == 127 ? 10 : 2;
}

static uint64_t payload_size(const FrameReader *r) {
    int size = head_size(r);
    uint64_t length = 0;
    if (size == 2) return r->head[1] & 127;
    for (int i = 2; i < size; i++) length = length << 8 | r->head[i];
    return length;
}

/*
 * Take what belongs to the current frame off the data. TEXT comes with each piece of a data frame's payload, PING and
 * CLOSE once with all of it; NEED_MORE says that the data ended first.
 */
static int read_frame(FrameReader *r, const char **data, int64_t *length, const char **piece, int64_t *piece_length) {
    while (!r->in_payload) {
        if (r->head_length == head_size(r)) {
            r->left = payload_size(r);
            r->in_payload = 1;
            r->control_length = 0;
        } else {
            if (!*length) return NEED_MORE;
            r->head[r->head_length++] = *(*data)++;
            --*length;
        }
    }
    int opcode = r->head[0] & 15;
    int64_t take = r->left < (uint64_t)*length ? (int64_t)r->left : *length;
    *piece = *data, *piece_length = take;
    *data += take, *length -= take, r->left -= take;
    if (!r->left) r->in_payload = r->head_length = 0;
    if (opcode < OPCODE_CLOSE) return take ? TEXT : r->left ? NEED_MORE : OTHER;
    if (take <= CONTROL_MAX - r->control_length) {
        memcpy(r->control + r->control_length, *piece, take);
        r->control_length += take;
    }
    if (r->left) return NEED_MORE;
    *piece = r->control, *piece_length = r->control_length;
    return opcode == OPCODE_PING ? PING : opcode == OPCODE_CLOSE ? CLOSE : OTHER;
}

/* Write a pong, masked by a key of zeros; returns its length. */
static int pong(char *frame, const char *payload, int64_t length) {
    memset(frame, 0, MASKED_HEAD);
    frame[0] = (char)(128 | OPCODE_PONG);
    frame[1] = (char)(128 | length);
    memcpy(frame + MASKED_HEAD, payload, length);
    return MASKED_HEAD + (int)length;
}
