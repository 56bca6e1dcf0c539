/* When which stream is due: a timer wheel, so that thousands of streams cost no more than one.
 *
 * Slots of 2^17 ns (131 us). An entry further away than one turn stays in its slot until its turn has come.
 */
#ifndef WHEEL_H
#define WHEEL_H

#include "wire.h"

enum { WHEEL_SHIFT = 17, WHEEL_SLOTS = 8192 };

struct timer {
    struct timer *next, *prev; /* NULL = not armed */
    uint64_t due;
};

struct wheel {
    struct timer slots[WHEEL_SLOTS];
    uint64_t turned; /* the first slot number that was not yet looked at */
    unsigned armed;
};

static inline void wheel_start(struct wheel *wheel, uint64_t now) {
    for (int i = 0; i < WHEEL_SLOTS; i++) wheel->slots[i].next = wheel->slots[i].prev = &wheel->slots[i];
    wheel->turned = now >> WHEEL_SHIFT;
    wheel->armed = 0;
}

static inline void wheel_arm(struct wheel *wheel, struct timer *timer, uint64_t due) {
    uint64_t slot = due >> WHEEL_SHIFT;
    if (slot < wheel->turned) slot = wheel->turned;
    struct timer *list = &wheel->slots[slot % WHEEL_SLOTS];
    timer->due = due;
    timer->next = list;
    timer->prev = list->prev;
    list->prev->next = timer;
    list->prev = timer;
    wheel->armed++;
}

static inline void wheel_disarm(struct wheel *wheel, struct timer *timer) {
    if (!timer->next) return;
    timer->prev->next = timer->next;
    timer->next->prev = timer->prev;
    timer->next = timer->prev = NULL;
    wheel->armed--;
}

/* A timer that is due, disarmed; NULL when there is none any more. */
static inline struct timer *wheel_due(struct wheel *wheel, uint64_t now) {
    uint64_t last = now >> WHEEL_SHIFT;
    if (wheel->armed == 0) {
        wheel->turned = last;
        return NULL;
    }
    if (last - wheel->turned >= WHEEL_SLOTS) wheel->turned = last - WHEEL_SLOTS + 1;
    for (;; wheel->turned++) {
        struct timer *list = &wheel->slots[wheel->turned % WHEEL_SLOTS];
        for (struct timer *timer = list->next; timer != list; timer = timer->next) {
            if (timer->due <= now) {
                wheel_disarm(wheel, timer);
                return timer;
            }
        }
        if (wheel->turned >= last) return NULL;
    }
}

/* Nanoseconds until the next timer may be due; at most one turn. */
static inline uint64_t wheel_wait(const struct wheel *wheel, uint64_t now) {
    uint64_t nearest = now + ((uint64_t)WHEEL_SLOTS << WHEEL_SHIFT);
    for (uint64_t slot = wheel->turned; slot < wheel->turned + WHEEL_SLOTS; slot++) {
        const struct timer *list = &wheel->slots[slot % WHEEL_SLOTS];
        for (const struct timer *timer = list->next; timer != list; timer = timer->next)
            if (timer->due < nearest) nearest = timer->due;
        if (nearest >> WHEEL_SHIFT <= slot) break;
    }
    return nearest > now ? nearest - now : 0;
}

#endif
