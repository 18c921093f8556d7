/* Copies to memory past the caches: whole cache lines are written without being read first. */
#ifndef FASTLOSS_STREAM_H
#define FASTLOSS_STREAM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Whether what is stored at p lies 1 to 511 bytes above what is loaded at q, modulo 2^20. A processor that knows no more of an
   address yet makes such loads wait for the stores: to a quarter of the speed. */
static inline int holds_up(const void *p, const void *q) { return (((uintptr_t)p - (uintptr_t)q) - 1 & 0xfffff) < 511; }

#if defined(__SSE2__) || defined(_M_X64)
#include <immintrin.h>

static inline void stream_line(char *p, const char *q) {
#if defined(__AVX512F__)
    _mm512_stream_si512((void *)p, _mm512_loadu_si512(q));
#elif defined(__AVX__)
    for (int i = 0; i < 2; i++)
        _mm256_stream_si256((__m256i *)p + i, _mm256_loadu_si256((const __m256i *)q + i));
#else
    for (int i = 0; i < 4; i++)
        _mm_stream_si128((__m128i *)p + i, _mm_loadu_si128((const __m128i *)q + i));
#endif
}

static inline void stream_copy(void *to, const void *from, size_t n) {
    char *p = (char *)to;
    const char *q = (const char *)from;
    size_t head = (64 - (uintptr_t)p % 64) % 64;
    if (head > n)
        head = n;
    memcpy(p, q, head);
    for (p += head, q += head, n -= head; n >= 64; p += 64, q += 64, n -= 64)
        stream_line(p, q);
    memcpy(p, q, n);
}

/* Other threads see what was streamed only after this. */
static inline void stream_end(void) { _mm_sfence(); }

#else

static inline void stream_copy(void *to, const void *from, size_t n) { memcpy(to, from, n); }
static inline void stream_end(void) {}

#endif
#endif
