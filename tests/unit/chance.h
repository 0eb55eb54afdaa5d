/* Numbers that look random and are the same each time: SplitMix64. */
#ifndef KV_TESTS_CHANCE_H
#define KV_TESTS_CHANCE_H

#include <stdint.h>

/* 0 to below - 1; the state is any number to begin with. */
static inline uint64_t chance(uint64_t *state, uint64_t below)
{
    uint64_t v = *state += 0x9e3779b97f4a7c15u;
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 27) * 0x94d049bb133111ebu;
    return (v ^ v >> 31) % below;
}

#endif
