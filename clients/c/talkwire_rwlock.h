/*
 * Many readers or one writer, across processes and languages: spec/sync.md § 7.
 *
 *   struct tw_rwlock prices;
 *   tw_rwlock_open(&prices, "prices");
 *   if (tw_rwlock_read(&prices, 5000) == ETIMEDOUT) …
 *   tw_rwlock_unlock_read(&prices);
 *   int how = tw_rwlock_write(&prices, -1);
 *   if (how == TW_ABANDONED) { …make the data whole…; tw_rwlock_repaired(&prices); }
 *   tw_rwlock_unlock_write(&prices);
 */
#ifndef TALKWIRE_RWLOCK_H
#define TALKWIRE_RWLOCK_H

#include "talkwire_lock.h"

/* The last slot is of the one reader who may become the writer. */
enum { TW_READERS = TW_SLOTS - 1, TW_UPGRADER = TW_SLOTS - 1 };

struct tw_rwlock {
    struct tw_handle handle;
};

static inline int tw_rwlock_open(struct tw_rwlock *lock, const char *name) { return tw_open(&lock->handle, "rwlock", TW_RWLOCK, name); }

/* From now on, for all who use it: writers go in the order in which they came. */
static inline void tw_rwlock_set_fair(struct tw_rwlock *lock) { TW_SET_BITS(lock->handle.lock->flags, (uint32_t)TW_FAIR); }

/* What others are told of the writer, besides its pid: from the next grant on. EINVAL: more than 32 bytes. */
static inline int tw_rwlock_set_label(struct tw_rwlock *lock, const char *label) { return tw_set_label(&lock->handle, label); }

/* Changes the owner's word from nobody's, or with `late` a dead one's, to ours. */
static inline int tw_claim_writing(struct tw_handle *handle, int late) {
    struct tw_lock *lock = handle->lock;
    int64_t owner = TW_LOAD(lock->owner);
    if (owner == 0) return tw_swap64(&lock->owner, 0, handle->self);
    if (!late || tw_alive(owner) || !tw_swap64(&lock->owner, owner, handle->self)) return 0;
    TW_STORE(lock->damaged, 1U);
    return 1;
}
static inline void tw_end_writing(struct tw_handle *handle) {
    tw_swap64(&handle->lock->owner, handle->self, 0);
    tw_wake_all(handle->lock);
}

/* One who wants a share, of `count` from `from` on. */
struct tw_reading {
    struct tw_handle *handle;
    int from, count;
};

static inline int tw_take_reading(void *subject, int late, int waits) {
    const struct tw_reading *reading = (const struct tw_reading *)subject;
    struct tw_handle *handle = reading->handle;
    struct tw_lock *lock = handle->lock;
    (void)waits;
    if (TW_LOAD(lock->owner) != 0) {
        /* A dead writer's word is taken, which says that it died, and given back. */
        if (!late || !tw_claim_writing(handle, late)) return 0;
        tw_swap64(&lock->owner, handle->self, 0);
    }
    int slot = tw_take_share(handle, reading->from, reading->count, late, NULL);
    if (slot < 0) return 0;
    if (TW_LOAD(lock->owner) == 0) return 1;
    /* A writer came in between; it may have seen the share and wait for its end. */
    TW_STORE(*tw_slot(handle, slot), (int64_t)0);
    tw_wake_all(lock);
    return 0;
}
static inline int64_t tw_reading_owner(void *subject) { return TW_LOAD(((struct tw_reading *)subject)->handle->lock->owner); }
static inline int tw_may_read(void *subject) { return tw_reading_owner(subject) == 0; }
static const struct tw_offer tw_read_offer = {tw_take_reading, NULL, tw_may_read, tw_reading_owner, tw_is_unordered, 1};

/* One who wants to write: it keeps new readers out, by the owner's word, and waits until the first `others` slots are free. */
struct tw_writing {
    struct tw_handle *handle;
    int others, claimed;
};

static inline int tw_is_taken(const struct tw_handle *handle, int count) {
    for (int slot = 0; slot < count; slot++)
        if (TW_LOAD(*tw_slot(handle, slot)) != 0) return 1;
    return 0;
}
/* Somebody may become the writer before: not before one who upgrades, who waits for the word and not for its own share. */
static inline int tw_is_preceded(const struct tw_writing *writing) {
    return writing->others > TW_READERS && TW_LOAD(*tw_slot(writing->handle, TW_UPGRADER)) != 0;
}
static inline void tw_give_up_writing(void *subject) {
    struct tw_writing *writing = (struct tw_writing *)subject;
    if (!writing->claimed) return;
    writing->claimed = 0;
    tw_end_writing(writing->handle);
}

static inline int tw_take_writing(void *subject, int late, int waits) {
    struct tw_writing *writing = (struct tw_writing *)subject;
    struct tw_handle *handle = writing->handle;
    if (late) tw_reap(handle, writing->others);
    /* To claim it only to give it back would keep readers out, and wake everybody, oneself too, who would claim it again. */
    if (!writing->claimed && (waits ? tw_is_preceded(writing) : tw_is_taken(handle, writing->others))) return 0;
    if (!writing->claimed && !tw_claim_writing(handle, late)) return 0;
    writing->claimed = 1;
    if (!tw_is_taken(handle, writing->others)) {
        writing->claimed = 0;
        tw_next_fence(handle->lock);
        memcpy(handle->lock->label, handle->label, sizeof handle->label);
        return 1;
    }
    /* One who may upgrade came in between. */
    if (!waits || tw_is_preceded(writing)) tw_give_up_writing(writing);
    return 0;
}
static inline int64_t tw_writing_owner(void *subject) {
    const struct tw_writing *writing = (const struct tw_writing *)subject;
    for (int slot = 0; writing->claimed && slot < writing->others; slot++) {
        int64_t owner = TW_LOAD(*tw_slot(writing->handle, slot));
        if (owner != 0) return owner;
    }
    return writing->claimed ? 0 : TW_LOAD(writing->handle->lock->owner);
}
static inline int tw_may_write(void *subject) { return !tw_alive(TW_LOAD(((struct tw_writing *)subject)->handle->lock->owner)); }
/* Whoever has claimed it keeps all others out, also those who were before: it has to go on. */
static inline int tw_writes_in_order(void *subject) {
    const struct tw_writing *writing = (const struct tw_writing *)subject;
    return writing->others > TW_READERS && !writing->claimed;
}
static const struct tw_offer tw_write_offer = {tw_take_writing, tw_give_up_writing, tw_may_write, tw_writing_owner, tw_writes_in_order, 0};

/* While it is held: a writer died within, and nobody has repaired since. */
static inline int tw_rwlock_abandoned(const struct tw_rwlock *lock) { return TW_LOAD(lock->handle.lock->damaged) != 0; }
static inline int tw_rwlock_told(const struct tw_rwlock *lock, int failed) { return failed ? failed : tw_rwlock_abandoned(lock) ? TW_ABANDONED : 0; }

/* Until nobody writes; at most 127 read. 0, TW_ABANDONED, ETIMEDOUT. */
static inline int tw_rwlock_read(struct tw_rwlock *lock, double milliseconds) {
    struct tw_reading reading = {&lock->handle, 0, TW_READERS};
    return tw_rwlock_told(lock, tw_take(&lock->handle, &tw_read_offer, &reading, milliseconds));
}
/* Until nobody writes, and nobody else has such a one: it may become the writer. */
static inline int tw_rwlock_upgradable(struct tw_rwlock *lock, double milliseconds) {
    struct tw_reading reading = {&lock->handle, TW_UPGRADER, 1};
    return tw_rwlock_told(lock, tw_take(&lock->handle, &tw_read_offer, &reading, milliseconds));
}
/* Until nobody reads or writes; who comes to read meanwhile waits. */
static inline int tw_rwlock_write(struct tw_rwlock *lock, double milliseconds) {
    struct tw_writing writing = {&lock->handle, TW_SLOTS, 0};
    return tw_rwlock_told(lock, tw_take(&lock->handle, &tw_write_offer, &writing, milliseconds));
}
/* With the upgradable in hand, which stays (EPERM without it): until the readers have gone. */
static inline int tw_rwlock_upgrade(struct tw_rwlock *lock, double milliseconds) {
    struct tw_writing writing = {&lock->handle, TW_READERS, 0};
    if (TW_LOAD(*tw_slot(&lock->handle, TW_UPGRADER)) != lock->handle.self) return EPERM;
    return tw_rwlock_told(lock, tw_take(&lock->handle, &tw_write_offer, &writing, milliseconds));
}

/* 0, TW_ABANDONED, EBUSY. Do not block. */
static inline int tw_rwlock_try_read(struct tw_rwlock *lock) {
    struct tw_reading reading = {&lock->handle, 0, TW_READERS};
    return tw_rwlock_told(lock, tw_try(&lock->handle, &tw_read_offer, &reading));
}
static inline int tw_rwlock_try_write(struct tw_rwlock *lock) {
    struct tw_writing writing = {&lock->handle, TW_SLOTS, 0};
    return tw_rwlock_told(lock, tw_try(&lock->handle, &tw_write_offer, &writing));
}

/* The number of the writer's grant: larger than all before. While it is written. */
static inline double tw_rwlock_fence(const struct tw_rwlock *lock) { return tw_fence(lock->handle.lock); }

/* While it is written: the data are whole again. */
static inline void tw_rwlock_repaired(struct tw_rwlock *lock) { TW_STORE(lock->handle.lock->damaged, 0U); }

static inline int tw_end_reading(struct tw_handle *handle, int from, int count) {
    int failed = tw_free_mine(handle, from, count);
    if (!failed) tw_wake_all(handle->lock);
    return failed;
}
/* EPERM when this process does not read. */
static inline int tw_rwlock_unlock_read(struct tw_rwlock *lock) { return tw_end_reading(&lock->handle, 0, TW_READERS); }
static inline int tw_rwlock_unlock_upgradable(struct tw_rwlock *lock) { return tw_end_reading(&lock->handle, TW_UPGRADER, 1); }
/* After tw_rwlock_upgrade the upgradable is held again. */
static inline void tw_rwlock_unlock_write(struct tw_rwlock *lock) { tw_end_writing(&lock->handle); }

static inline void tw_rwlock_close(struct tw_rwlock *lock) { tw_close(&lock->handle); }

#endif
