/*
 * Waiting for a change of what a mutex guards: spec/sync.md § 10.
 *
 *   tw_mutex_lock(&mutex, -1);
 *   while (!there_is_something()) tw_condition_wait(&changed, &mutex, -1);
 *   tw_mutex_unlock(&mutex);
 */
#ifndef TALKWIRE_CONDITION_H
#define TALKWIRE_CONDITION_H

#include "talkwire_mutex.h"

struct tw_condition {
    struct tw_handle handle;
};

static inline int tw_condition_open(struct tw_condition *condition, const char *name) {
    return tw_open(&condition->handle, "condition", TW_CONDITION, name);
}

struct tw_notice {
    struct tw_handle *handle;
    struct tw_waiter *place;
    struct tw_mutex *mutex;
    uint32_t deaths;
};

/* Takes over what a dead one was told of and did not live to see. */
static inline int tw_inherit_notice(const struct tw_notice *notice) {
    struct tw_lock *lock = notice->handle->lock;
    for (struct tw_waiter *waiter = lock->waiters; waiter < lock->waiters + TW_WAITERS; waiter++) {
        int64_t who = TW_LOAD(waiter->who);
        if (who == 0 || TW_LOAD(waiter->mode) != TW_NOTIFIED || tw_alive(who)) continue;
        /* In this order: whoever dies in between leaves two who were told, not none. */
        tw_swap32(&notice->place->mode, 0, TW_NOTIFIED);
        tw_clear_dead(waiter);
        return 1;
    }
    return 0;
}

static inline int tw_is_noticed(void *subject, int late) {
    struct tw_notice *notice = (struct tw_notice *)subject;
    struct tw_lock *lock = notice->mutex->handle.lock;
    int64_t owner = TW_LOAD(lock->owner);
    TW_STORE(notice->place->rung, 0U);
    if (TW_LOAD(notice->place->mode) == TW_NOTIFIED) return 1;
    if (!late) return 0;
    if (TW_LOAD(lock->damaged) || TW_LOAD(lock->deaths) != notice->deaths || (owner != 0 && !tw_alive(owner))) return 1;
    return tw_inherit_notice(notice);
}
static inline int64_t tw_noticed_owner(void *subject) { return tw_owner(&((struct tw_notice *)subject)->mutex->handle); }

static inline void tw_notify(struct tw_condition *condition, int all) {
    for (struct tw_waiter *first; (first = tw_first_of(condition->handle.lock, 1));) {
        if (tw_clear_dead(first) || !tw_swap32(&first->mode, 0, TW_NOTIFIED)) continue;
        tw_ring_at(first);
        if (!all) return;
    }
}

/* Wakes the one that has waited longest, or all. With the mutex held, after the change. Does not block. */
static inline void tw_condition_notify(struct tw_condition *condition) { tw_notify(condition, 0); }
static inline void tw_condition_notify_all(struct tw_condition *condition) { tw_notify(condition, 1); }

/*
 * Lets go of the mutex, waits until it is notified, and has the mutex again in any case. It also ends when the mutex's owner dies:
 * look at the data, and wait again if they are not as you want them. 0, TW_ABANDONED, ETIMEDOUT (the time to get the mutex again
 * does not count); ENOSPC when 29 wait already.
 */
static inline int tw_condition_wait(struct tw_condition *condition, struct tw_mutex *mutex, double milliseconds) {
    static const struct tw_wait wait = {tw_is_noticed, tw_noticed_owner};
    /* Before it lets go: whoever changes something from then on finds it waiting. */
    struct tw_notice notice = {&condition->handle, tw_enqueue(&condition->handle), mutex, TW_LOAD(mutex->handle.lock->deaths)};
    if (!notice.place) return ENOSPC;
    tw_mutex_unlock(mutex);
    int result = tw_wait_until(&condition->handle, &wait, &notice, milliseconds);
    int how = tw_mutex_lock(mutex, -1);
    /* Not before the mutex is there: if this process dies until then, somebody else takes over what it was told. */
    int told = !tw_swap32(&notice.place->mode, 0, TW_GONE);
    if (told && result < 0) tw_notify(condition, 0);
    tw_dequeue(notice.place);
    return result < 0 ? -result : how;
}

static inline void tw_condition_close(struct tw_condition *condition) { tw_close(&condition->handle); }

#endif
