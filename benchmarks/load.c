/* A load that costs less than what it measures: how long does each answer take, and is it the right one?
 *
 * One thread, epoll, HTTP/1.1 with keep-alive, loopback only, bounded in time, connections and requests. Closed loop
 * (each connection asks again when it was answered) or, with --rate, paced: latencies then count from the moment at
 * which the request was due, so that a server that stops for a while cannot hide it. Every answer is checked: it must
 * be whole and carry the id of its request (wire.h).
 *
 *     load --port N [--host 127.0.0.1] [--connections 1] [--rate 0] [--window-ms 2000] [--warmup-ms 300]
 *          [--requests 100000000] [--stream 0|1] [--chunks 50] [--interval-us 5000] [--hold 0|1] [--model chat]
 *
 * --hold 1 keeps streams open: the window starts when every connection got its first chunk, and at its end they leave.
 * Prints "begin" and "end" around the measured window, so that the caller can read the server's CPU time at these
 * moments, then one line of JSON. Exit code 0 = it ran, whatever the faults in the JSON; 2 = bad options.
 */
#include "answer.h"

#include <netinet/tcp.h>
#include <sys/epoll.h>

enum { MOST_CONNECTIONS = 4096, EVENTS = 256, MOST_FAULTS = 1000, REQUEST_BYTES = 500, GRACE_MS = 3000 };

struct connection {
    int fd; /* -1 = not open */
    bool busy, connecting, first_seen;
    uint64_t started; /* when the request went out, or was due */
    struct answer answer;
};

static struct {
    struct sockaddr_in address;
    const char *model;
    long connections, rate, window_ms, warmup_ms, requests, chunks, interval_us, stream, hold;
} options = {.model = "chat", .connections = 1, .window_ms = 2000, .warmup_ms = 300, .requests = 100000000,
             .chunks = 50, .interval_us = 5000};

static struct connection *connections;
static int *idle, idle_count, opened, busy_count, streaming_count;
static int poller;
static bool measuring, stopping;
static uint64_t next_id, sent, paced, origin, measured_requests, measured_chunks, most_late_ns;
static uint64_t faults[FAULTS], fault_total;
static char first_fault[256];
static struct histogram latency, first_chunk, chunk_delay;
static char request[1024];
static size_t request_length, ask_at;

/* ----------------------------------------------------------------------------------------------------- requests */

static void make_request(void) {
    static const char words[] = " How much does it cost to say this again, and who would pay for it, if anybody?";
    char body[REQUEST_BYTES + 1];
    int n = snprintf(body, sizeof body,
                     "{\"model\":\"%s\",\"stream\":%s,\"temperature\":0.5,\"max_tokens\":256,"
                     "\"messages\":[{\"role\":\"user\",\"content\":\"ask-%016d-%08x-%08x",
                     options.model, options.stream ? "true" : "false", 0,
                     options.stream ? (unsigned)options.chunks : 0, (unsigned)options.interval_us);
    while (n < REQUEST_BYTES - 4) n++, body[n - 1] = words[(size_t)n % (sizeof words - 1)];
    memcpy(body + n, "\"}]}", 5);
    request_length = (size_t)snprintf(request, sizeof request,
                                      "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n"
                                      "content-type: application/json\r\ncontent-length: %d\r\n"
                                      "authorization: Bearer unused\r\naccept: */*\r\n\r\n%s",
                                      ntohs(options.address.sin_port), REQUEST_BYTES, body);
    ask_at = (size_t)((char *)memmem(request, request_length, "ask-", 4) - request);
}

static void count_fault(enum fault fault, const struct connection *c, uint64_t now) {
    if (faults[fault]++ == 0 && fault_total == 0)
        snprintf(first_fault, sizeof first_fault, "%s: status %d, %u chunks, after %.1f ms", fault_names[fault],
                 c ? c->answer.status : 0, c ? c->answer.seen : 0, c && c->busy ? (double)(now - c->started) / 1e6 : 0);
    fault_total++;
}

static void set_busy(struct connection *c, bool busy) {
    if (c->busy == busy) return;
    c->busy = busy;
    busy_count += busy ? 1 : -1;
    if (!busy && c->first_seen) streaming_count--;
    c->first_seen = false;
}

static void rest(struct connection *c) {
    set_busy(c, false);
    idle[idle_count++] = (int)(c - connections);
}

static void hang_up(struct connection *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

static void fail(struct connection *c, enum fault fault, uint64_t now) {
    count_fault(fault, c, now);
    hang_up(c);
    rest(c);
}

static void ask(struct connection *c, uint64_t now) {
    answer_expect(&c->answer, ++next_id, options.stream ? (uint32_t)options.chunks : 0);
    c->answer.delays = measuring ? &chunk_delay : NULL;
    c->answer.chunk_count = &measured_chunks;
    put_hex(request + ask_at + 4, next_id, 16);
    if (write(c->fd, request, request_length) != (ssize_t)request_length) fail(c, CLOSED, now);
}

static void dial(struct connection *c, uint64_t now) {
    int yes = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = c};
    if (c->fd < 0) {
        fail(c, CONNECT, now);
        return;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
    c->connecting = true;
    if (connect(c->fd, (struct sockaddr *)&options.address, sizeof options.address) < 0 && errno != EINPROGRESS)
        fail(c, CONNECT, now);
}

static void connected(struct connection *c, uint64_t now) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    c->connecting = false;
    if (error) {
        fail(c, CONNECT, now);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
    ask(c, now);
}

/* Starts one request that was due at `due`; false when every connection is busy. */
static bool start(uint64_t due, uint64_t now) {
    if (idle_count == 0 && opened == options.connections) return false;
    struct connection *c = &connections[idle_count ? idle[--idle_count] : opened++];
    sent++;
    c->started = due;
    set_busy(c, true);
    if (c->fd < 0) dial(c, now);
    else ask(c, now);
    return true;
}

/* ------------------------------------------------------------------------------------------------------ answers */

static void finish(struct connection *c, uint64_t now) {
    if (c->answer.fault != NONE) {
        count_fault(c->answer.fault, c, now);
        if (c->answer.fault == STRAY || c->answer.fault == FRAMING) c->answer.close = true;
    } else if (measuring) {
        measured_requests++;
        histogram_add(&latency, now - c->started);
    }
    if (c->answer.close) hang_up(c);
    rest(c);
}

static void receive(struct connection *c, uint64_t now) {
    static char bytes[256 << 10];
    ssize_t n = read(c->fd, bytes, sizeof bytes);
    if (n < 0 && errno == EAGAIN) return;
    if (!c->busy) { /* it stays in the list of idle ones and is opened again when it is needed */
        if (n > 0) count_fault(STRAY, c, now);
        hang_up(c);
        return;
    }
    if (n <= 0) {
        fail(c, c->answer.step == HEAD ? CLOSED : SHORT, now);
        return;
    }
    answer_feed(&c->answer, bytes, (size_t)n, now);
    if (c->answer.chunks && c->answer.seen > 0 && !c->first_seen) {
        c->first_seen = true;
        streaming_count++;
        if (measuring) histogram_add(&first_chunk, now - c->started);
    }
    if (c->answer.step == COMPLETE || c->answer.fault == FRAMING) finish(c, now);
}

/* --------------------------------------------------------------------------------------------------------- phases */

static bool may_send(void) { return sent < (uint64_t)options.requests && fault_total < MOST_FAULTS; }

/* Starts what is due; returns the nanoseconds until more is. In a closed loop the first requests go out spread over
 * the warm-up, so that held streams do not all speak at the same moment. */
static uint64_t start_due(uint64_t now) {
    const uint64_t never = 50000000;
    if (stopping) return never;
    if (options.rate) {
        for (;;) {
            uint64_t due = origin + paced * 1000000000u / (uint64_t)options.rate;
            if (due > now) return due - now;
            if (now - due > most_late_ns) most_late_ns = now - due;
            if (!may_send() || !start(due, now)) return never;
            paced++;
        }
    }
    uint64_t spread = (uint64_t)options.warmup_ms * 500000u / (uint64_t)options.connections;
    while (may_send()) {
        uint64_t due = origin + (uint64_t)opened * spread;
        if (idle_count == 0 && opened < options.connections && due > now) return due - now;
        if (!start(now, now)) break;
    }
    return never;
}

static void turn(uint64_t deadline) {
    struct epoll_event events[EVENTS];
    uint64_t now = now_ns(), wait = start_due(now);
    if (deadline > now && deadline - now < wait) wait = deadline - now;
    struct timespec limit = {.tv_sec = 0, .tv_nsec = (long)wait};
    int ready = epoll_pwait2(poller, events, EVENTS, &limit, NULL);
    for (int i = 0; i < ready; i++) {
        struct connection *c = events[i].data.ptr;
        now = now_ns();
        if (c->fd < 0) continue;
        if (c->connecting) connected(c, now);
        else receive(c, now);
    }
}

static bool all_sent(void) { return sent >= (uint64_t)options.requests && busy_count == 0; }

/* Up to the window: everything is warm. False = it never got there. */
static bool warm_up(void) {
    uint64_t limit = origin + (uint64_t)options.warmup_ms * 1000000u, patience = origin + 30000000000u;
    for (;;) {
        uint64_t now = now_ns();
        bool open = !options.hold || streaming_count == options.connections;
        if ((now >= limit && open) || all_sent()) return true;
        if (now >= patience || fault_total >= MOST_FAULTS) return false;
        turn(now < limit ? limit : patience);
    }
}

static void set_measuring(bool on) {
    measuring = on;
    for (int i = 0; i < opened; i++) connections[i].answer.delays = on ? &chunk_delay : NULL;
}

static double own_cpu_us(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e6 + (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static void say(const char *word) {
    puts(word);
    fflush(stdout);
}

/* What still runs gets the grace period; held streams leave at once. */
static void wind_up(uint64_t now) {
    uint64_t patience = now + GRACE_MS * 1000000ull;
    if (options.stream) patience += (uint64_t)(options.chunks * options.interval_us) * 1000u;
    stopping = true;
    if (!options.hold)
        while (busy_count > 0 && now_ns() < patience) turn(patience);
    now = now_ns();
    for (int i = 0; i < opened; i++) {
        if (connections[i].busy && !options.hold) count_fault(UNFINISHED, &connections[i], now);
        hang_up(&connections[i]);
    }
}

static void report(double seconds, double cpu_us, bool warm) {
    printf("{\"warm\":%s,\"seconds\":%.6f,\"sent\":%llu,\"requests\":%llu,\"chunks\":%llu,\"tool_cpu_us\":%.0f,"
           "\"most_late_us\":%.1f,\"faults\":%llu,\"first_fault\":\"%s\",\"by_fault\":{",
           warm ? "true" : "false", seconds, (unsigned long long)sent, (unsigned long long)measured_requests,
           (unsigned long long)measured_chunks, cpu_us, (double)most_late_ns / 1e3, (unsigned long long)fault_total,
           first_fault);
    for (int i = 1; i < FAULTS; i++)
        printf("%s\"%s\":%llu", i > 1 ? "," : "", fault_names[i], (unsigned long long)faults[i]);
    printf("},");
    histogram_print("latency_us", &latency);
    printf(",");
    histogram_print("first_chunk_us", &first_chunk);
    printf(",");
    histogram_print("chunk_us", &chunk_delay);
    printf("}\n");
}

static void read_options(int count, char **arguments) {
    const char *host = "127.0.0.1";
    long port = 0;
    for (int i = 1; i < count; i += 2) {
        const char *option = arguments[i], *value = i + 1 < count ? arguments[i + 1] : NULL;
        if (!strcmp(option, "--host") && value) host = value;
        else if (!strcmp(option, "--model") && value && strlen(value) < 64) options.model = value;
        else if (!strcmp(option, "--port")) port = number(option, value, 1, 65535);
        else if (!strcmp(option, "--connections")) options.connections = number(option, value, 1, MOST_CONNECTIONS);
        else if (!strcmp(option, "--rate")) options.rate = number(option, value, 0, 1000000);
        else if (!strcmp(option, "--window-ms")) options.window_ms = number(option, value, 1, 600000);
        else if (!strcmp(option, "--warmup-ms")) options.warmup_ms = number(option, value, 0, 60000);
        else if (!strcmp(option, "--requests")) options.requests = number(option, value, 1, 100000000);
        else if (!strcmp(option, "--stream")) options.stream = number(option, value, 0, 1);
        else if (!strcmp(option, "--chunks")) options.chunks = number(option, value, 1, 1000000);
        else if (!strcmp(option, "--interval-us")) options.interval_us = number(option, value, 0, 60000000);
        else if (!strcmp(option, "--hold")) options.hold = number(option, value, 0, 1);
        else {
            fprintf(stderr, "load: unknown or incomplete option %s\n", option);
            exit(2);
        }
    }
    options.address = loopback(host, port);
    if (port == 0 || (options.hold && (!options.stream || options.rate))) {
        fprintf(stderr, "load: --port is needed; --hold goes with --stream and without --rate\n");
        exit(2);
    }
}

int main(int count, char **arguments) {
    read_options(count, arguments);
    settle_in();
    make_request();
    connections = calloc((size_t)options.connections, sizeof *connections);
    idle = calloc((size_t)options.connections + 1, sizeof *idle);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (!connections || !idle || poller < 0) {
        perror("load");
        return 1;
    }
    for (int i = 0; i < options.connections; i++) connections[i].fd = -1;
    origin = now_ns();
    bool warm = warm_up();
    say("begin");
    double cpu = own_cpu_us();
    uint64_t begin = now_ns(), end = begin + (uint64_t)options.window_ms * 1000000u, now = begin;
    set_measuring(true);
    while (warm && (now = now_ns()) < end && !all_sent() && fault_total < MOST_FAULTS) turn(end);
    set_measuring(false);
    cpu = own_cpu_us() - cpu;
    say("end");
    wind_up(now);
    report((double)(now - begin) / 1e9, cpu, warm);
    return 0;
}
