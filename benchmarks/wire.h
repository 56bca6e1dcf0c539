/* What both tools agree on: the clock, the marks that tie an answer to its request, and how an HTTP head is read.
 *
 * A mark travels inside a message's content, so that every proxy carries it, even one that takes bodies apart:
 *   the request says   ask-<id>-<chunks>-<microseconds between two chunks>   (16, 8 and 8 hex digits)
 *   the answer says    ans-<id>-<index of the chunk>-<when it was sent>      (16, 8 and 16 hex digits, CLOCK_MONOTONIC ns)
 */
#ifndef WIRE_H
#define WIRE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ASK_LENGTH = 4 + 16 + 1 + 8 + 1 + 8, ANS_LENGTH = 4 + 16 + 1 + 8 + 1 + 16 };

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void put_hex(char *at, uint64_t value, int digits) {
    while (digits > 0) {
        at[--digits] = "0123456789abcdef"[value & 15];
        value >>= 4;
    }
}

/* False when the digits are not all hex. */
static inline bool get_hex(const char *at, int digits, uint64_t *value) {
    uint64_t sum = 0;
    for (int i = 0; i < digits; i++) {
        char c = at[i];
        if (c >= '0' && c <= '9') sum = sum << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f') sum = sum << 4 | (uint64_t)(c - 'a' + 10);
        else return false;
    }
    *value = sum;
    return true;
}

struct head {
    long long length; /* Content-Length, -1 = none */
    bool chunked;
    bool close;
    bool event_stream;
};

static inline bool value_is(const char *value, size_t n, const char *word) {
    return n == strlen(word) && strncasecmp(value, word, n) == 0;
}

/* The framing headers between the first line and the blank line. `head` ends with \r\n\r\n. False = not HTTP. */
static inline bool read_head(const char *head, size_t n, struct head *out) {
    const char *end = head + n - 2, *line = memchr(head, '\n', n);
    *out = (struct head){.length = -1};
    for (line = line ? line + 1 : end; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end;
        const char *colon = memchr(line, ':', (size_t)(stop - line));
        if (!colon) return false;
        const char *value = colon + 1, *tail = stop;
        while (value < tail && (*value == ' ' || *value == '\t')) value++;
        while (tail > value && (tail[-1] == '\r' || tail[-1] == '\n' || tail[-1] == ' ')) tail--;
        size_t name = (size_t)(colon - line), size = (size_t)(tail - value);
        if (value_is(line, name, "content-length")) {
            long long length = 0;
            if (size == 0 || size > 12) return false;
            for (size_t i = 0; i < size; i++) {
                if (value[i] < '0' || value[i] > '9') return false;
                length = length * 10 + (value[i] - '0');
            }
            if (out->length >= 0 && out->length != length) return false;
            out->length = length;
        } else if (value_is(line, name, "transfer-encoding")) {
            if (!value_is(value, size, "chunked")) return false;
            out->chunked = true;
        } else if (value_is(line, name, "connection")) {
            out->close = value_is(value, size, "close");
        } else if (value_is(line, name, "content-type")) {
            out->event_stream = size >= 17 && strncasecmp(value, "text/event-stream", 17) == 0;
        }
        line = stop + 1;
    }
    return true;
}

/* The address of a loopback host; exits with 2 for every other one: these tools load nobody else's machine. */
static inline struct sockaddr_in loopback(const char *host, long port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1 || ntohl(address.sin_addr.s_addr) >> 24 != 127) {
        fprintf(stderr, "%s is not a loopback address: only 127.0.0.0/8 may be used\n", host);
        exit(2);
    }
    return address;
}

/* A whole number between least and most; exits with 2 otherwise. */
static inline long number(const char *option, const char *text, long least, long most) {
    char *end = NULL;
    errno = 0;
    long value = strtol(text ? text : "", &end, 10);
    if (errno || !text || end == text || *end || value < least || value > most) {
        fprintf(stderr, "%s takes a whole number from %ld to %ld\n", option, least, most);
        exit(2);
    }
    return value;
}

/* Ends with its parent, may open as many files as the machine allows, wakes up when it asked to. */
static inline void settle_in(void) {
    struct rlimit files;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    prctl(PR_SET_TIMERSLACK, 1000);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGPIPE, SIG_IGN);
}

#endif
