/*
 * The latest value, for many readers, in memory that processes share: spec/values.md § 1 and § 2. The memory is the caller's: mapped
 * for reading and writing, from a multiple of 8 on, zeros when the first one came.
 *
 *   struct tw_value price;
 *   if (tw_value_open(&price, memory, tw_value_bytes(64), 64) != 0) …
 *   if (tw_value_begin(&price) == EBUSY) …          somebody else writes
 *   tw_value_write(&price, "12.50", 5);
 *   char text[64]; size_t length;
 *   if (tw_value_read(&price, text, sizeof text, &length) == 0) …
 *   uint32_t version = 0;
 *   while (tw_value_changed(&price, version, 1000, &version) == 0) …
 *   tw_value_close(&price);
 *
 * Functions return 0 or an errno. One thread at a time uses a struct. Nothing but tw_value_changed blocks.
 */
#ifndef TALKWIRE_VALUE_H
#define TALKWIRE_VALUE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <poll.h>

#include "talkwire_versions.h"

#define TW_VALUE_KIND 0x54560101U
enum { TW_WATCHERS = 16 };
/* Milliseconds until who waits looks by itself, without a place and with one. */
enum { TW_OFTEN = 50, TW_SELDOM = 1000 };

struct tw_watcher {
    int64_t who;
    uint32_t bell, spare;
};
struct tw_value_words {
    uint32_t kind, most;
    int64_t writer;
    uint32_t version, begun, lengths[2], watched, spare[7];
    struct tw_watcher watchers[TW_WATCHERS];
};
struct tw_value {
    struct tw_value_words *words;
    struct tw_versions versions;
    int64_t self;
    int bell[2]; /* -1 before the first wait */
};

/* Bytes of memory for a value of at most so many. */
static inline size_t tw_value_bytes(uint32_t most) { return sizeof(struct tw_value_words) + 2 * tw_padded(most); }

/* `most`: bytes that a value has at most; whoever comes first says it, all others the same or 0. EINVAL: something else is there, or too little memory. */
static inline int tw_value_open(struct tw_value *value, void *memory, size_t bytes, uint32_t most) {
    struct tw_value_words *words = (struct tw_value_words *)memory;
    if ((uintptr_t)memory % 8 != 0 || bytes < sizeof *words || most > 1U << 30 || (most > 0 && bytes < tw_value_bytes(most))) return EINVAL;
    uint32_t there = TW_LOAD(words->kind);
    if (there != 0 && there != TW_VALUE_KIND) return EINVAL;
    if (most > 0 && there == 0) tw_swap32(&words->most, 0, most);
    uint32_t found = TW_LOAD(words->most);
    if (found == 0 || found > 1U << 30 || (most > 0 && found != most) || tw_value_bytes(found) > bytes) return EINVAL;
    tw_swap32(&words->kind, 0, TW_VALUE_KIND);
    unsigned char *buffers = (unsigned char *)memory + sizeof *words;
    struct tw_versions versions = {&words->version, &words->begun, words->lengths, {buffers, buffers + tw_padded(found)}, found};
    value->words = words;
    value->versions = versions;
    value->bell[0] = value->bell[1] = -1;
    value->self = tw_owner_of(getpid());
    return value->self == 0 ? ENOSYS : 0; /* no /proc */
}

/* Changes with each value; 0 before the first. */
static inline uint32_t tw_value_version(const struct tw_value *value) { return TW_LOAD(value->words->version); }

/* A copy of the latest value, whole, and its length. ENODATA: there is none yet. EMSGSIZE: it has more bytes than `room`, *length of them. EBADMSG: none can be read. */
static inline int tw_value_read(const struct tw_value *value, void *to, size_t room, size_t *length) {
    struct tw_looks looks = {0, 0};
    uint32_t version;
    if (tw_value_version(value) == 0) return ENODATA;
    do {
        if (tw_read_version(&value->versions, to, room, length, &version)) return *length > room ? EMSGSIZE : 0;
    } while (tw_look_again(&looks));
    return EBADMSG;
}

/* To be the one who writes; the place of a dead one is free. EBUSY: somebody else is. */
static inline int tw_value_begin(struct tw_value *value) {
    int64_t *writer = &value->words->writer, other = TW_LOAD(*writer);
    if (tw_swap64(writer, 0, value->self)) return 0;
    return other != 0 && !tw_alive(other) && tw_swap64(writer, other, value->self) ? 0 : EBUSY;
}

/* Somebody else may write. */
static inline void tw_value_end(struct tw_value *value) { tw_swap64(&value->words->writer, value->self, 0); }

/* Wakes everybody who waits for a change. Whoever died waiting loses its place. */
static inline void tw_value_wake(struct tw_value *value) {
    int left = 0;
    TW_STORE(value->words->watched, 0U);
    for (struct tw_watcher *each = value->words->watchers; each < value->words->watchers + TW_WATCHERS; each++) {
        int64_t who = TW_LOAD(each->who);
        if (who != 0 && (tw_ring(who, TW_LOAD(each->bell)) || tw_alive(who) || !tw_swap64(&each->who, who, 0))) left = 1;
    }
    if (left) TW_STORE(value->words->watched, 1U);
}

/* All readers see it from now on. Who dies here leaves the old value. EMSGSIZE: more bytes than a value has; EPERM: not after tw_value_begin. */
static inline int tw_value_write(struct tw_value *value, const void *bytes, size_t length) {
    if (length > value->versions.most) return EMSGSIZE;
    if (TW_LOAD(value->words->writer) != value->self) return EPERM;
    tw_write_version(&value->versions, bytes, length, 1);
    /* After the version is there for all: whoever says from here on that it waits looks once more. */
    tw_fence_all();
    if (TW_LOAD(value->words->watched) != 0) tw_value_wake(value);
    return 0;
}

/* A place where one is rung, or NULL when all are the living's. */
static inline struct tw_watcher *tw_value_watch(struct tw_value *value) {
    struct tw_watcher *each = value->words->watchers, *end = each + TW_WATCHERS;
    for (; each < end; each++) {
        int64_t who = TW_LOAD(each->who);
        if (who != 0 && !tw_alive(who)) tw_swap64(&each->who, who, 0);
        if (!tw_swap64(&each->who, 0, value->self)) continue;
        TW_STORE(each->bell, (uint32_t)value->bell[0]);
        TW_STORE(value->words->watched, 1U);
        return each;
    }
    return NULL;
}

/* Sleeps until somebody rings, a signal comes, or it is time to look. */
static inline void tw_value_sleep(const struct tw_value *value, double left, int pause) {
    struct pollfd bell = {value->bell[0], POLLIN, 0};
    char rings[64];
    if (left > pause) left = pause;
    if (poll(&bell, 1, left < 1 ? 1 : (int)left) == 1 && read(value->bell[0], rings, sizeof rings) < 0) return;
}

/*
 * Waits until the version is not `since` any more, for `patience` milliseconds at most, and gives it in *version; 0 waits for the
 * first value. What is written meanwhile is not counted: tw_value_read gives the latest. ETIMEDOUT; EMFILE and what else pipe2 says.
 */
static inline int tw_value_changed(struct tw_value *value, uint32_t since, double patience, uint32_t *version) {
    double end = tw_now(CLOCK_MONOTONIC) + patience, left;
    if ((*version = tw_value_version(value)) != since) return 0;
    if (value->bell[0] < 0 && pipe2(value->bell, O_NONBLOCK | O_CLOEXEC) != 0) return errno;
    struct tw_watcher *place = tw_value_watch(value);
    while ((*version = tw_value_version(value)) == since && (left = end - tw_now(CLOCK_MONOTONIC)) > 0)
        tw_value_sleep(value, left, place ? TW_SELDOM : TW_OFTEN);
    if (place) TW_STORE(place->who, (int64_t)0);
    return *version == since ? ETIMEDOUT : 0;
}

/* When the value is not waited for any more; the memory stays the caller's. */
static inline void tw_value_close(struct tw_value *value) {
    for (int end = 0; end < 2; end++) {
        if (value->bell[end] >= 0) close(value->bell[end]);
        value->bell[end] = -1;
    }
}

#endif
