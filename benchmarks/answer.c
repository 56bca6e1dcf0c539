#include "answer.h"

const char *const fault_names[FAULTS] = {"none",    "foreign", "order",  "short",   "stray",     "status",
                                         "event",   "framing", "closed", "connect", "unfinished"};

static void blame(struct answer *a, enum fault fault) {
    if (a->fault == NONE || fault == FRAMING) a->fault = fault; /* after broken framing nothing can be read */
}

void answer_expect(struct answer *a, uint64_t id, uint32_t chunks) {
    a->id = id;
    a->chunks = chunks;
    a->step = HEAD;
    a->fault = NONE;
    a->status = 0;
    a->close = a->done = false;
    a->seen = 0;
    a->left = a->digits = 0;
    a->held = 0;
}

/* The mark in the text must be ours, and for a stream the next one. */
static void check_mark(struct answer *a, const char *text, size_t n, uint64_t now) {
    uint64_t id, index, sent;
    const char *mark = memmem(text, n, "ans-", 4);
    if (!mark) {
        if (memmem(text, n, "\"error\"", 7)) blame(a, EVENT);
        return;
    }
    if (text + n - mark < ANS_LENGTH || !get_hex(mark + 4, 16, &id) || !get_hex(mark + 21, 8, &index) ||
        !get_hex(mark + 30, 16, &sent)) {
        blame(a, FRAMING);
        return;
    }
    if (id != a->id) blame(a, FOREIGN);
    if (index != (a->chunks ? a->seen : 0) || a->done) blame(a, ORDER);
    a->seen++;
    if (!a->chunks) return;
    if (a->delays) {
        histogram_add(a->delays, now > sent ? now - sent : 0);
        ++*a->chunk_count;
    }
}

static void stream_line(struct answer *a, const char *line, size_t n, uint64_t now) {
    if (n && line[n - 1] == '\r') n--;
    if (n < 5 || memcmp(line, "data:", 5) != 0) return;
    line += 5, n -= 5;
    while (n && *line == ' ') line++, n--;
    if (n == 6 && memcmp(line, "[DONE]", 6) == 0) a->done = true;
    else check_mark(a, line, n, now);
}

static bool hold(struct answer *a, const char *bytes, size_t n) {
    if (a->held + n > sizeof a->text) {
        blame(a, FRAMING);
        return false;
    }
    memcpy(a->text + a->held, bytes, n);
    a->held += n;
    return true;
}

static void stream_body(struct answer *a, const char *bytes, size_t n, uint64_t now) {
    const char *end = bytes + n, *stop;
    while (bytes < end && (stop = memchr(bytes, '\n', (size_t)(end - bytes)))) {
        if (a->held == 0) {
            stream_line(a, bytes, (size_t)(stop - bytes), now);
        } else if (hold(a, bytes, (size_t)(stop - bytes))) {
            stream_line(a, a->text, a->held, now);
            a->held = 0;
        } else {
            return;
        }
        bytes = stop + 1;
    }
    if (bytes < end) hold(a, bytes, (size_t)(end - bytes));
}

static void body(struct answer *a, const char *bytes, size_t n, uint64_t now) {
    if (a->chunks && a->status == 200) stream_body(a, bytes, n, now);
    else hold(a, bytes, n);
}

static void complete(struct answer *a) {
    a->step = COMPLETE;
    if (a->status != 200) {
        blame(a, STATUS);
        return;
    }
    if (a->chunks) {
        if (a->seen != a->chunks || !a->done) blame(a, SHORT);
        return;
    }
    check_mark(a, a->text, a->held, 0);
    if (a->seen != 1 || a->text[a->held - 1] != '}') blame(a, SHORT);
}

/* How many of the bytes belong to the head; the step moves on when it is whole. */
static size_t read_answer_head(struct answer *a, const char *bytes, size_t n) {
    size_t before = a->held, room = LARGEST_HEAD - before, part = n < room ? n : room;
    memcpy(a->text + before, bytes, part);
    a->held += part;
    const char *blank = memmem(a->text, a->held, "\r\n\r\n", 4);
    if (!blank) {
        if (a->held == LARGEST_HEAD) blame(a, FRAMING);
        return part;
    }
    size_t length = (size_t)(blank - a->text) + 4;
    struct head head;
    a->held = 0;
    if (length < 16 || memcmp(a->text, "HTTP/1.", 7) != 0 || !read_head(a->text, length, &head)) {
        blame(a, FRAMING);
        return n;
    }
    a->status = atoi(a->text + 9);
    if (a->status >= 100 && a->status < 200) return length - before; /* the real head follows */
    a->close = head.close || a->text[7] == '0';
    if (head.chunked) a->step = CHUNK_SIZE;
    else if (head.length > 0) a->step = BODY, a->left = (unsigned long long)head.length;
    else if (head.length == 0) complete(a);
    else blame(a, FRAMING);
    return length - before;
}

/* One byte of the line that holds an HTTP chunk's size. */
static void read_size(struct answer *a, char c) {
    uint64_t digit;
    char lower = c >= 'A' && c <= 'F' ? (char)(c + 32) : c;
    if (c == '\n') {
        if (a->digits == 0) blame(a, FRAMING);
        a->digits = 0;
        a->step = a->left ? CHUNK_DATA : TRAILER;
    } else if (c != '\r') {
        if (a->digits == 8 || !get_hex(&lower, 1, &digit)) blame(a, FRAMING);
        else a->left = a->left << 4 | digit, a->digits++;
    }
}

/* One byte after the last chunk: the blank line ends the answer. `digits` counts the bytes of the line. */
static void read_trailer(struct answer *a, char c) {
    if (c == '\r') return;
    if (c != '\n') a->digits++;
    else if (a->digits) a->digits = 0;
    else complete(a);
}

void answer_feed(struct answer *a, const char *bytes, size_t n, uint64_t now) {
    while (n > 0 && a->fault != FRAMING) {
        size_t part = 1;
        switch (a->step) {
        case HEAD:
            part = read_answer_head(a, bytes, n);
            break;
        case BODY:
        case CHUNK_DATA:
            part = n < a->left ? n : (size_t)a->left;
            body(a, bytes, part, now);
            a->left -= part;
            if (a->left) break;
            if (a->step == BODY) complete(a);
            else a->step = CHUNK_END;
            break;
        case CHUNK_SIZE:
            read_size(a, *bytes);
            break;
        case CHUNK_END:
            if (*bytes == '\n') a->step = CHUNK_SIZE;
            else if (*bytes != '\r') blame(a, FRAMING);
            break;
        case TRAILER:
            read_trailer(a, *bytes);
            break;
        case COMPLETE:
            a->fault = STRAY; /* bytes that nobody asked for outweigh what was found before */
            return;
        }
        bytes += part, n -= part;
    }
}
