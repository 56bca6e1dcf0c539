/* A provider that costs next to nothing: what does a proxy cost when the provider behind it is free?
 *
 * One thread, epoll, HTTP/1.1 with keep-alive and pipelining, loopback only. POST .../chat/completions is answered with
 * a fixed chat completion, or, where the body says "stream": true, with a stream of N chunks every D microseconds.
 * The first chunk goes out at once, the last one together with the finish reason, [DONE] and the last HTTP chunk.
 * Every answer carries the id of the request's mark (wire.h); a mark may also name its own N and D.
 * POST /v1/traces, /v1/metrics and /v1/logs are taken and thrown away, so that a proxy may export its telemetry.
 *
 *     upstream [--host 127.0.0.1] [--port 0] [--chunks 50] [--interval-us 5000] [--bytes 500]
 *
 * Prints "port N" when it listens, and ends with its parent.
 */
#include "wheel.h"

#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/epoll.h>

enum { LARGEST_REQUEST = 8 << 20, LARGEST_BACKLOG = 256 << 10, LARGEST_ANSWER = 1 << 20, EVENTS = 256 };

struct connection {
    struct timer timer; /* of the stream that runs */
    int fd;
    bool streaming, close, writable_wanted;
    char *in, *out; /* not yet parsed; not yet taken by the kernel */
    size_t in_length, in_size, out_length, out_size;
    uint64_t id, interval;
    uint32_t index, chunks;
};

/* Bytes that go out again and again, and where the id and the mark stand in them. */
struct template {
    char *bytes;
    size_t length, id_at, mark_at;
};

static struct wheel wheel;
static struct template whole, first, next, last;
static int poller;
static uint32_t default_chunks = 50;
static uint64_t default_interval = 5000000;

static const char *const ZERO_ANS = "ans-0000000000000000-00000000-0000000000000000";

/* ------------------------------------------------------------------------------------------------- the templates */

static void append(struct template *to, const char *text, size_t n) {
    to->bytes = realloc(to->bytes, to->length + n);
    memcpy(to->bytes + to->length, text, n);
    to->length += n;
}

static void append_chunk(struct template *to, const char *text) {
    char size[24];
    append(to, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", strlen(text)));
    append(to, text, strlen(text));
    append(to, "\r\n", 2);
}

static void append_event(struct template *to, const char *delta, const char *finish) {
    char event[512];
    snprintf(event, sizeof event,
             "data: {\"id\":\"chatcmpl-fake\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
             "\"model\":\"fake-model\",\"choices\":[{\"index\":0,\"delta\":%s,\"finish_reason\":%s}]}\n\n",
             delta, finish);
    append_chunk(to, event);
}

static void find_mark(struct template *in) {
    const char *mark = memmem(in->bytes, in->length, ZERO_ANS, ANS_LENGTH);
    in->mark_at = mark ? (size_t)(mark - in->bytes) : 0;
}

static void make_templates(size_t answer_bytes) {
    static const char before[] =
        "{\"id\":\"chatcmpl-fake\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"fake-model\","
        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"";
    static const char after[] = "\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
                                "\"usage\":{\"prompt_tokens\":21,\"completion_tokens\":34,\"total_tokens\":55}}";
    static const char words[] = " it costs what it costs, and not a microsecond more;";
    char head[256], delta[128];
    append(&whole, head,
           (size_t)snprintf(head, sizeof head,
                            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n",
                            answer_bytes));
    size_t head_length = whole.length;
    append(&whole, before, sizeof before - 1);
    append(&whole, ZERO_ANS, ANS_LENGTH);
    for (size_t i = 0; whole.length - head_length + sizeof after - 1 < answer_bytes; i++)
        append(&whole, &words[i % (sizeof words - 1)], 1);
    append(&whole, after, sizeof after - 1);
    find_mark(&whole);

    static const char stream_head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                                      "cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
    snprintf(delta, sizeof delta, "{\"content\":\"%s\"}", ZERO_ANS);
    append(&first, stream_head, sizeof stream_head - 1);
    append_event(&first, "{\"role\":\"assistant\",\"content\":\"\"}", "null");
    append_event(&first, delta, "null");
    append_event(&next, delta, "null");
    append_event(&last, "{}", "\"stop\"");
    append_chunk(&last, "data: [DONE]\n\n");
    append(&last, "0\r\n\r\n", 5);
    find_mark(&first);
    find_mark(&next);
}

/* ---------------------------------------------------------------------------------------------------- connections */

static void drop(struct connection *c) {
    wheel_disarm(&wheel, &c->timer);
    close(c->fd);
    free(c->in);
    free(c->out);
    free(c);
}

static void want(struct connection *c, bool writable) {
    if (c->writable_wanted == writable) return;
    c->writable_wanted = writable;
    struct epoll_event event = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
}

static bool reserve(char **buffer, size_t *size, size_t needed) {
    if (needed <= *size) return true;
    size_t larger = *size ? *size : 4096;
    while (larger < needed) larger *= 2;
    char *grown = realloc(*buffer, larger);
    if (!grown) return false;
    *buffer = grown;
    *size = larger;
    return true;
}

/* False = the connection is lost. What the kernel does not take is kept and goes out when there is room. */
static bool send_bytes(struct connection *c, const char *bytes, size_t n) {
    if (c->out_length == 0) {
        ssize_t sent = write(c->fd, bytes, n);
        if (sent < 0 && errno != EAGAIN) return false;
        if (sent == (ssize_t)n) return true;
        if (sent > 0) bytes += sent, n -= (size_t)sent;
    }
    if (!reserve(&c->out, &c->out_size, c->out_length + n)) return false;
    memcpy(c->out + c->out_length, bytes, n);
    c->out_length += n;
    want(c, true);
    return true;
}

static bool flush(struct connection *c) {
    ssize_t sent = write(c->fd, c->out, c->out_length);
    if (sent < 0) return errno == EAGAIN;
    c->out_length -= (size_t)sent;
    memmove(c->out, c->out + sent, c->out_length);
    if (c->out_length == 0) want(c, false);
    return !(c->close && !c->streaming && c->out_length == 0);
}

static void stamp(struct template *from, const struct connection *c, uint64_t now) {
    char *mark = from->bytes + from->mark_at;
    put_hex(mark + 4, c->id, 16);
    put_hex(mark + 21, c->index, 8);
    put_hex(mark + 30, now, 16);
}

/* One chunk of a stream, and the end behind the last. False = the connection is lost. */
static bool send_chunk(struct connection *c, uint64_t now) {
    if (c->out_length > LARGEST_BACKLOG) { /* the reader is slow: look again in a millisecond */
        wheel_arm(&wheel, &c->timer, now + 1000000);
        return true;
    }
    struct template *chunk = c->index == 0 ? &first : &next;
    stamp(chunk, c, now_ns());
    bool ending = ++c->index == c->chunks;
    if (!ending) {
        uint64_t due = c->timer.due + c->interval;
        wheel_arm(&wheel, &c->timer, due > now ? due : now);
        return send_bytes(c, chunk->bytes, chunk->length);
    }
    static char both[8192];
    memcpy(both, chunk->bytes, chunk->length);
    memcpy(both + chunk->length, last.bytes, last.length);
    c->streaming = false;
    return send_bytes(c, both, chunk->length + last.length);
}

/* ------------------------------------------------------------------------------------------------------- requests */

static bool says_stream(const char *body, size_t n) {
    const char *at = memmem(body, n, "\"stream\"", 8), *end = body + n;
    if (!at) return false;
    for (at += 8; at < end && (*at == ' ' || *at == ':'); at++) {
    }
    return end - at >= 4 && memcmp(at, "true", 4) == 0;
}

static void read_ask(struct connection *c, const char *body, size_t n) {
    const char *ask = memmem(body, n, "ask-", 4);
    uint64_t id, chunks, micros;
    c->id = 0, c->index = 0, c->chunks = default_chunks, c->interval = default_interval;
    if (!ask || body + n - ask < ASK_LENGTH) return;
    if (!get_hex(ask + 4, 16, &id) || !get_hex(ask + 21, 8, &chunks) || !get_hex(ask + 30, 8, &micros)) return;
    c->id = id;
    if (chunks) c->chunks = (uint32_t)chunks, c->interval = micros * 1000;
}

static bool refuse(struct connection *c, const char *status) {
    char answer[512], body[256];
    int n = snprintf(body, sizeof body, "{\"error\":{\"message\":\"the fake provider says: %s\",\"type\":\"invalid\"}}",
                     status);
    c->close = true;
    n = snprintf(answer, sizeof answer,
                 "HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s",
                 status, n, body);
    return send_bytes(c, answer, (size_t)n) && c->out_length > 0;
}

static bool starts_with(const char *text, size_t n, const char *word) {
    return n >= strlen(word) && memcmp(text, word, strlen(word)) == 0;
}

static bool answer(struct connection *c, const char *line, size_t n, const char *body, size_t body_length) {
    static const char taken[] = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    if (starts_with(line, n, "POST /v1/traces ") || starts_with(line, n, "POST /v1/metrics ") ||
        starts_with(line, n, "POST /v1/logs "))
        return send_bytes(c, taken, sizeof taken - 1);
    if (!starts_with(line, n, "POST /v1/chat/completions")) return refuse(c, "404 Not Found");
    read_ask(c, body, body_length);
    uint64_t now = now_ns();
    if (says_stream(body, body_length)) {
        c->streaming = true;
        c->timer.due = now;
        return send_chunk(c, now);
    }
    stamp(&whole, c, now);
    return send_bytes(c, whole.bytes, whole.length);
}

/* Answers every whole request in the buffer, unless a stream runs: then they wait. False = the connection is lost. */
static bool serve(struct connection *c) {
    while (c->in_length > 0 && !c->streaming && !c->close) {
        char *blank = memmem(c->in, c->in_length, "\r\n\r\n", 4);
        if (!blank) return c->in_length < 65536 || refuse(c, "431 Request Header Fields Too Large");
        size_t head_length = (size_t)(blank - c->in) + 4;
        struct head head;
        if (!read_head(c->in, head_length, &head)) return refuse(c, "400 Bad Request");
        if (head.chunked) return refuse(c, "411 Length Required");
        size_t body_length = head.length > 0 ? (size_t)head.length : 0;
        if (body_length > LARGEST_REQUEST) return refuse(c, "413 Content Too Large");
        if (c->in_length < head_length + body_length) return true;
        c->close = head.close;
        if (!answer(c, c->in, head_length, c->in + head_length, body_length)) return false;
        c->in_length -= head_length + body_length;
        memmove(c->in, c->in + head_length + body_length, c->in_length);
    }
    return !(c->close && !c->streaming && c->out_length == 0);
}

static bool take(struct connection *c) {
    if (c->in_length == c->in_size && !reserve(&c->in, &c->in_size, c->in_size + 4096)) return false;
    if (c->in_size > 2 * (size_t)LARGEST_REQUEST) return false;
    ssize_t n = read(c->fd, c->in + c->in_length, c->in_size - c->in_length);
    if (n <= 0) return n < 0 && errno == EAGAIN;
    c->in_length += (size_t)n;
    return serve(c);
}

static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), yes = 1;
        if (fd < 0) return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct connection *c = calloc(1, sizeof *c);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (!c || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0) {
            close(fd);
            free(c);
            continue;
        }
        c->fd = fd;
    }
}

static int listen_at(struct sockaddr_in address) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
    socklen_t length = sizeof address;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0) {
        perror("upstream: cannot listen");
        exit(1);
    }
    getsockname(fd, (struct sockaddr *)&address, &length);
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void run_timers(void) {
    uint64_t now = now_ns();
    for (struct timer *due; (due = wheel_due(&wheel, now));) {
        struct connection *c = (struct connection *)((char *)due - offsetof(struct connection, timer));
        if (!send_chunk(c, now) || (!c->streaming && !serve(c))) drop(c);
    }
}

int main(int count, char **arguments) {
    const char *host = "127.0.0.1";
    long port = 0, bytes = 500;
    for (int i = 1; i < count; i += 2) {
        const char *option = arguments[i], *value = i + 1 < count ? arguments[i + 1] : NULL;
        if (!strcmp(option, "--host") && value) host = value;
        else if (!strcmp(option, "--port")) port = number(option, value, 0, 65535);
        else if (!strcmp(option, "--chunks")) default_chunks = (uint32_t)number(option, value, 1, 1000000);
        else if (!strcmp(option, "--interval-us"))
            default_interval = (uint64_t)number(option, value, 0, 60000000) * 1000;
        else if (!strcmp(option, "--bytes")) bytes = number(option, value, 350, LARGEST_ANSWER);
        else {
            fprintf(stderr, "upstream: unknown option %s\n", option);
            return 2;
        }
    }
    settle_in();
    make_templates((size_t)bytes);
    wheel_start(&wheel, now_ns());
    poller = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_at(loopback(host, port));
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        struct timespec wait = {0}, *limit = NULL;
        if (wheel.armed) {
            uint64_t ns = wheel_wait(&wheel, now_ns());
            wait = (struct timespec){.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
            limit = &wait;
        }
        int ready = epoll_pwait2(poller, events, EVENTS, limit, NULL);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c) accept_all(listener);
            else if ((events[i].events & EPOLLOUT && !flush(c)) ||
                     (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !take(c)))
                drop(c);
        }
        run_timers();
    }
}
