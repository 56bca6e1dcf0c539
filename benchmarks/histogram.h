/* Counts of durations: 128 buckets for each power of two, so that a quantile is exact to 0.8 %. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include "wire.h"

enum { HISTOGRAM_BITS = 7, HISTOGRAM_SIZE = (64 - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS };

struct histogram {
    uint64_t count, max;
    uint64_t buckets[HISTOGRAM_SIZE];
};

static inline void histogram_add(struct histogram *histogram, uint64_t ns) {
    unsigned index = (unsigned)ns;
    if (ns >> HISTOGRAM_BITS) {
        unsigned shift = (unsigned)(63 - __builtin_clzll(ns)) - HISTOGRAM_BITS;
        index = ((shift + 1) << HISTOGRAM_BITS) + (unsigned)((ns >> shift) - (1u << HISTOGRAM_BITS));
    }
    histogram->buckets[index]++;
    histogram->count++;
    if (ns > histogram->max) histogram->max = ns;
}

/* The middle of the bucket in which the quantile lies, in microseconds; 0 when nothing was counted. */
static inline double histogram_us(const struct histogram *histogram, double quantile) {
    uint64_t rank = (uint64_t)(quantile * (double)histogram->count), seen = 0;
    for (unsigned index = 0; index < HISTOGRAM_SIZE; index++) {
        seen += histogram->buckets[index];
        if (seen <= rank) continue;
        if (index < 1u << HISTOGRAM_BITS) return index / 1e3;
        unsigned shift = (index >> HISTOGRAM_BITS) - 1;
        double low = (double)((uint64_t)((1u << HISTOGRAM_BITS) + (index & ((1u << HISTOGRAM_BITS) - 1))) << shift);
        return (low + (double)(1ull << shift) / 2) / 1e3;
    }
    return (double)histogram->max / 1e3;
}

static inline void histogram_print(const char *name, const struct histogram *histogram) {
    printf("\"%s\":{\"count\":%llu,\"p50\":%.2f,\"p90\":%.2f,\"p99\":%.2f,\"max\":%.2f}", name,
           (unsigned long long)histogram->count, histogram_us(histogram, 0.5), histogram_us(histogram, 0.9),
           histogram_us(histogram, 0.99), (double)histogram->max / 1e3);
}

#endif
