/*
 * Words of shared memory. Every change that an algorithm depends on goes through here, so that a test can end the process in place
 * of any one of them: it defines TW_CHANGING(), which stands right before each. Plain payload is written directly.
 */
#ifndef TALKWIRE_STORE_H
#define TALKWIRE_STORE_H

#include <stdint.h>

#ifndef TW_CHANGING
#define TW_CHANGING() ((void)0)
#endif

#define TW_LOAD(word) __atomic_load_n(&(word), __ATOMIC_SEQ_CST)
#define TW_STORE(word, value) (TW_CHANGING(), __atomic_store_n(&(word), (value), __ATOMIC_SEQ_CST))
/* For what nobody looks at yet, or nobody decides by: a later TW_STORE publishes it. */
#define TW_PUT(word, value) (TW_CHANGING(), (void)((word) = (value)))
/* Both give what is there now. */
#define TW_ADD(word, value) (TW_CHANGING(), __atomic_add_fetch(&(word), (value), __ATOMIC_SEQ_CST))
#define TW_SET_BITS(word, bits) (TW_CHANGING(), __atomic_or_fetch(&(word), (bits), __ATOMIC_SEQ_CST))

static inline int tw_swap64(int64_t *word, int64_t from, int64_t to) {
    TW_CHANGING();
    return __atomic_compare_exchange_n(word, &from, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static inline int tw_swap32(uint32_t *word, uint32_t from, uint32_t to) {
    TW_CHANGING();
    return __atomic_compare_exchange_n(word, &from, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

#endif
