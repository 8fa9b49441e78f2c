/* Bytes that change as a whole, in two buffers: what a shared value and the entries of a shared map are made of. spec/values.md § 2. */
#ifndef TALKWIRE_VERSIONS_H
#define TALKWIRE_VERSIONS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sched.h>
#include <stddef.h>

#include "talkwire_owner.h"
#include "talkwire_store.h"

/* Looks without a pause, looks in all, and milliseconds of them: what is whole is seen long before. */
enum { TW_LOOKS = 100, TW_MOST_LOOKS = 10000, TW_LOOK_TIME = 200 };

struct tw_versions {
    uint32_t *version, *begun;
    uint32_t *lengths; /* of both buffers */
    unsigned char *buffers[2];
    uint32_t most;
};

static inline size_t tw_padded(size_t bytes) { return (bytes + 7) & ~(size_t)7; }

/* Memory that others change meanwhile: the compiler is not to read it twice, nor to move it over a fence. */
static inline void tw_fence_all(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

/* For the one who may write. Readers see it at once, and as a whole. */
static inline void tw_write_version(const struct tw_versions *at, const void *bytes, size_t length, uint32_t step) {
    uint32_t next = TW_LOAD(*at->version) + step;
    if (next == 0) next = 2; /* 0 stays the version of what was never written, and odd and even take turns */
    TW_STORE(*at->begun, next);
    tw_fence_all();
    TW_CHANGING();
    if (length > 0) memcpy(at->buffers[next & 1], bytes, length);
    TW_STORE(at->lengths[next & 1], (uint32_t)length);
    TW_STORE(*at->version, next);
}

/* What a reader sees of a change at most: `room` bytes of it, and how many it has. 0: it was changed twice meanwhile; look again. */
static inline int tw_read_version(const struct tw_versions *at, void *to, size_t room, size_t *length, uint32_t *version) {
    uint32_t seen = TW_LOAD(*at->version), size = TW_LOAD(at->lengths[seen & 1]);
    if (size > at->most) return 0;
    if (size > 0 && room > 0) memcpy(to, at->buffers[seen & 1], size < room ? size : room);
    tw_fence_all();
    if (TW_LOAD(*at->begun) - seen > 1) return 0;
    *length = size;
    *version = seen;
    return 1;
}

/* How often one has looked, and until when one does. */
struct tw_looks {
    int count;
    double end;
};
/* Whether to look once more, after a pause where one is due. */
static inline int tw_look_again(struct tw_looks *looks) {
    if (++looks->count < TW_LOOKS) return 1;
    if (looks->count == TW_LOOKS) looks->end = tw_now(CLOCK_MONOTONIC) + TW_LOOK_TIME;
    sched_yield();
    return looks->count < TW_MOST_LOOKS && (looks->count % 64 != 0 || tw_now(CLOCK_MONOTONIC) < looks->end);
}

#endif
