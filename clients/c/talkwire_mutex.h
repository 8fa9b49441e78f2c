/*
 * One at a time, across processes and languages: spec/sync.md § 5.
 *
 *   struct tw_mutex mutex;
 *   tw_mutex_open(&mutex, "bank");
 *   int how = tw_mutex_lock(&mutex, -1);
 *   if (how == TW_ABANDONED) { …make the data whole…; tw_mutex_repaired(&mutex); }
 *   tw_mutex_unlock(&mutex);
 */
#ifndef TALKWIRE_MUTEX_H
#define TALKWIRE_MUTEX_H

#include "talkwire_lock.h"

struct tw_mutex {
    struct tw_handle handle;
};

static inline int tw_mutex_open(struct tw_mutex *mutex, const char *name) { return tw_open(&mutex->handle, "mutex", TW_MUTEX, name); }

/* What others are told of who holds it, besides its pid: from the next grant on. EINVAL: more than 32 bytes. */
static inline int tw_mutex_set_label(struct tw_mutex *mutex, const char *label) { return tw_set_label(&mutex->handle, label); }

/* From now on, for all who use it: who came first gets it first. Without it, whoever has waited for 2 ms goes first. */
static inline void tw_mutex_set_fair(struct tw_mutex *mutex) { TW_SET_BITS(mutex->handle.lock->flags, (uint32_t)TW_FAIR); }

/* Changes the owner's word from nobody's, or with `late` a dead one's, to ours. */
static inline int tw_claim(struct tw_handle *handle, int late) {
    struct tw_lock *lock = handle->lock;
    int64_t owner = TW_LOAD(lock->owner);
    if (owner == 0) return tw_swap64(&lock->owner, 0, handle->self);
    if (!late || tw_alive(owner) || !tw_swap64(&lock->owner, owner, handle->self)) return 0;
    TW_STORE(lock->damaged, 1U);
    /* Who waits for a condition learns of it, also when everything is repaired by the time that it looks. */
    TW_ADD(lock->deaths, 1U);
    return 1;
}
static inline int tw_own(void *subject, int late, int waits) {
    struct tw_handle *handle = (struct tw_handle *)subject;
    (void)waits;
    if (!tw_claim(handle, late)) return 0;
    tw_next_fence(handle->lock);
    memcpy(handle->lock->label, handle->label, sizeof handle->label);
    return 1;
}
static inline int64_t tw_owner(void *subject) { return TW_LOAD(((struct tw_handle *)subject)->lock->owner); }
static inline int tw_is_unowned(void *subject) { return !tw_alive(tw_owner(subject)); }
static const struct tw_offer tw_ownership = {tw_own, NULL, tw_is_unowned, tw_owner, NULL, 0};

/* While it is held: an owner died within, and nobody has repaired since. */
static inline int tw_mutex_abandoned(const struct tw_mutex *mutex) { return TW_LOAD(mutex->handle.lock->damaged) != 0; }
static inline int tw_mutex_told(const struct tw_mutex *mutex, int failed) { return failed ? failed : tw_mutex_abandoned(mutex) ? TW_ABANDONED : 0; }

/* 0, TW_ABANDONED, EBUSY. Does not block. */
static inline int tw_mutex_trylock(struct tw_mutex *mutex) { return tw_mutex_told(mutex, tw_try(&mutex->handle, &tw_ownership, &mutex->handle)); }

/* 0, TW_ABANDONED, ETIMEDOUT. */
static inline int tw_mutex_lock(struct tw_mutex *mutex, double milliseconds) {
    return tw_mutex_told(mutex, tw_take(&mutex->handle, &tw_ownership, &mutex->handle, milliseconds));
}

/* The number of the grant: larger than all before. While it is held. */
static inline double tw_mutex_fence(const struct tw_mutex *mutex) { return tw_fence(mutex->handle.lock); }

/* While it is held: the data are whole again. */
static inline void tw_mutex_repaired(struct tw_mutex *mutex) { TW_STORE(mutex->handle.lock->damaged, 0U); }

static inline void tw_disown(struct tw_handle *handle) {
    tw_swap64(&handle->lock->owner, handle->self, 0);
    tw_wake_first(handle->lock);
}
static inline void tw_mutex_unlock(struct tw_mutex *mutex) { tw_disown(&mutex->handle); }

static inline void tw_mutex_close(struct tw_mutex *mutex) { tw_close(&mutex->handle); }

#endif
