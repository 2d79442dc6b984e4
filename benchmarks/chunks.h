/* Reads HTTP's chunked transfer coding, in whatever pieces it arrives. */
#include <stdint.h>

enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_CRLF, CHUNK_TRAILER };

typedef struct {
    int state;
    int64_t left;
} ChunkReader;

/* Take a piece of a chunk off the data and return 1; 0 says that the data ended first, -1 that the body is over. */
static int read_chunk(ChunkReader *r, const char **data, int64_t *length, const char **piece, int64_t *piece_length) {
    while (*length > 0) {
        if (r->state == CHUNK_DATA) {
            int64_t take = r->left < *length ? r->left : *length;
            *piece = *data, *piece_length = take;
            *data += take, *length -= take, r->left -= take;
            if (!r->left) r->state = CHUNK_CRLF;
            return 1;
        }
        char c = *(*data)++;
        --*length;
        if (r->state == CHUNK_SIZE) {
            if (c >= '0' && c <= '9') r->left = r->left * 16 + (c - '0');
            else if ((c | 32) >= 'a' && (c | 32) <= 'f') r->left = r->left * 16 + ((c | 32) - 'a' + 10);
            else if (c == '\n') r->state = r->left ? CHUNK_DATA : CHUNK_TRAILER;
        } else if (c == '\n') {
            if (r->state == CHUNK_TRAILER) return -1;
            r->state = CHUNK_SIZE;
        }
    }
    return 0;
}
