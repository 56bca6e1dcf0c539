/* Is this the whole answer to that request? Reads one HTTP answer however it is cut, and judges it. */
#ifndef ANSWER_H
#define ANSWER_H

#include "histogram.h"

enum { LARGEST_HEAD = 16 << 10, LARGEST_BODY = 256 << 10 };

/* The ways in which an answer can be wrong. FOREIGN is the worst fault possible: somebody else's answer. */
enum fault { NONE, FOREIGN, ORDER, SHORT, STRAY, STATUS, EVENT, FRAMING, CLOSED, CONNECT, UNFINISHED, FAULTS };

extern const char *const fault_names[FAULTS];

enum step { HEAD, BODY, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, COMPLETE };

/* One answer while it arrives. The caller sets the first four fields. */
struct answer {
    uint64_t id;
    uint32_t chunks; /* how many a stream must have; 0 = not a stream */
    struct histogram *delays; /* where the way of each chunk is counted; NULL = not now */
    uint64_t *chunk_count;

    enum step step;
    enum fault fault; /* the first that was found */
    int status;
    bool close, done;
    uint32_t seen; /* chunks, or 1 for the mark of a whole answer */
    unsigned long long left, digits; /* of the body or the HTTP chunk; digits of its size read so far */
    size_t held; /* bytes in `text` */
    char text[LARGEST_BODY]; /* the head, then the body or the line of a stream that is not whole yet */
};

void answer_expect(struct answer *answer, uint64_t id, uint32_t chunks);

/* Takes n bytes that arrived at `now`; when the step is COMPLETE or a fault is FRAMING or STRAY, reading is over. */
void answer_feed(struct answer *answer, const char *bytes, size_t n, uint64_t now);

#endif
