/*
 * So many at a time, across processes and languages: spec/sync.md § 6. What a process had when it died comes back.
 *
 *   struct tw_semaphore downloads;
 *   tw_semaphore_open(&downloads, "downloads", 3);       all who use it say the same number
 *   if (tw_semaphore_acquire(&downloads, 5000) == ETIMEDOUT) …
 *   tw_semaphore_release(&downloads);
 */
#ifndef TALKWIRE_SEMAPHORE_H
#define TALKWIRE_SEMAPHORE_H

#include "talkwire_lock.h"

struct tw_semaphore {
    struct tw_handle handle;
    int64_t fence; /* the number of the last grant to this struct: larger than all before */
    int counting, inherited;
};

/* 1 to 128 permits. EINVAL: another number, or others say another one or another use. */
static inline int tw_semaphore_open(struct tw_semaphore *semaphore, const char *name, int permits) {
    if (permits < 1 || permits > TW_SLOTS) return EINVAL;
    int failed = tw_open(&semaphore->handle, "semaphore", TW_SEMAPHORE, name);
    if (failed) return failed;
    struct tw_lock *lock = semaphore->handle.lock;
    semaphore->counting = semaphore->inherited = 0;
    failed = TW_LOAD(lock->flags) & TW_COUNTING ? EINVAL : tw_agree(&lock->limit, (uint32_t)permits);
    if (failed) tw_close(&semaphore->handle);
    return failed;
}

/* For signalling: a count, at first so many; anyone may post, and nothing comes back. */
static inline int tw_semaphore_open_count(struct tw_semaphore *semaphore, const char *name, int count) {
    if (count < 0) return EINVAL;
    int failed = tw_open(&semaphore->handle, "semaphore", TW_SEMAPHORE, name);
    if (failed) return failed;
    struct tw_lock *lock = semaphore->handle.lock;
    semaphore->counting = 1;
    semaphore->inherited = 0;
    if (TW_LOAD(lock->limit) != 0 && !(TW_LOAD(lock->flags) & TW_COUNTING)) {
        tw_close(&semaphore->handle);
        return EINVAL;
    }
    TW_SET_BITS(lock->flags, (uint32_t)TW_COUNTING);
    tw_swap32(&lock->limit, 0, (uint32_t)count + 1);
    return 0;
}

static inline void tw_semaphore_set_fair(struct tw_semaphore *semaphore) {
    TW_SET_BITS(semaphore->handle.lock->flags, (uint32_t)TW_FAIR);
}

static inline int tw_permits(const struct tw_semaphore *semaphore) {
    uint32_t limit = TW_LOAD(semaphore->handle.lock->limit);
    return limit < TW_SLOTS ? (int)limit : TW_SLOTS;
}
static inline int tw_count_of(const struct tw_semaphore *semaphore, uint32_t value) {
    return (int)(int32_t)(TW_LOAD(semaphore->handle.lock->limit) - 1 + value);
}

/* How many could be had at this moment, those of the dead among them. */
static inline int tw_semaphore_available(struct tw_semaphore *semaphore) {
    if (semaphore->counting) return tw_count_of(semaphore, TW_LOAD(semaphore->handle.lock->value));
    int dead, permits = tw_permits(semaphore);
    return permits - tw_slots_of(&semaphore->handle, 0, permits, &dead);
}

static inline int tw_take_count(struct tw_semaphore *semaphore) {
    uint32_t *word = &semaphore->handle.lock->value, value;
    do {
        value = TW_LOAD(*word);
        if (tw_count_of(semaphore, value) <= 0) return 0;
    } while (!tw_swap32(word, value, value - 1));
    return 1;
}
static inline int tw_take_permit(void *subject, int late, int waits) {
    struct tw_semaphore *semaphore = (struct tw_semaphore *)subject;
    int64_t *fence = &semaphore->handle.lock->fence;
    (void)waits;
    semaphore->inherited = 0;
    if (semaphore->counting ? !tw_take_count(semaphore) : tw_take_share(&semaphore->handle, 0, tw_permits(semaphore), late, &semaphore->inherited) < 0) return 0;
    if (TW_LOAD(*fence) == 0) tw_swap64(fence, 0, (int64_t)(tw_now(CLOCK_REALTIME) * 1e3));
    semaphore->fence = TW_ADD(*fence, (int64_t)1);
    return 1;
}
static inline int tw_has_permit(void *subject) { return tw_semaphore_available((struct tw_semaphore *)subject) > 0; }
static inline int64_t tw_permit_owner(void *subject) {
    struct tw_semaphore *semaphore = (struct tw_semaphore *)subject;
    /* Any of several: their ends are found by looking. */
    return !semaphore->counting && tw_permits(semaphore) == 1 ? TW_LOAD(*tw_slot(&semaphore->handle, 0)) : 0;
}
static const struct tw_offer tw_permit = {tw_take_permit, NULL, tw_has_permit, tw_permit_owner, NULL, 1};

/* 0, TW_ABANDONED (whoever had this one before died with it), EBUSY. Does not block. */
static inline int tw_semaphore_try(struct tw_semaphore *semaphore) {
    int failed = tw_try(&semaphore->handle, &tw_permit, semaphore);
    return failed ? failed : semaphore->inherited ? TW_ABANDONED : 0;
}

/* 0, TW_ABANDONED, ETIMEDOUT. */
static inline int tw_semaphore_acquire(struct tw_semaphore *semaphore, double milliseconds) {
    int failed = tw_take(&semaphore->handle, &tw_permit, semaphore, milliseconds);
    return failed ? failed : semaphore->inherited ? TW_ABANDONED : 0;
}

/* One more, for whoever waits. EPERM when it is not for signalling. */
static inline int tw_semaphore_post(struct tw_semaphore *semaphore) {
    if (!semaphore->counting) return EPERM;
    TW_ADD(semaphore->handle.lock->value, 1U);
    tw_wake_first(semaphore->handle.lock);
    return 0;
}

/* Gives one back that this process has; EPERM when it has none. For signalling it posts. */
static inline int tw_semaphore_release(struct tw_semaphore *semaphore) {
    if (semaphore->counting) return tw_semaphore_post(semaphore);
    int failed = tw_free_mine(&semaphore->handle, 0, tw_permits(semaphore));
    if (!failed) tw_wake_first(semaphore->handle.lock);
    return failed;
}

static inline void tw_semaphore_close(struct tw_semaphore *semaphore) { tw_close(&semaphore->handle); }

#endif
