/* See clock.h. */
#define _GNU_SOURCE
#include "clock.h"

#include <stdint.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

double rv_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double rv_random(void)
{
    static __thread uint64_t state;
    if (!state && getrandom(&state, sizeof state, GRND_NONBLOCK) != sizeof state)
        state = (uint64_t)(rv_now() * 1e9) ^ (uint64_t)getpid() << 32 ^ (uint64_t)(uintptr_t)&state;
    /* splitmix64: https://prng.di.unimi.it/splitmix64.c */
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}
