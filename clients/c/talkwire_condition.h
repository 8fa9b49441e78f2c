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
    struct tw_waiter *place;
    struct tw_mutex *mutex;
};
static inline int tw_is_noticed(void *subject, int late) {
    struct tw_notice *notice = (struct tw_notice *)subject;
    int64_t owner = TW_LOAD(notice->mutex->handle.lock->owner);
    TW_STORE(notice->place->rung, 0U);
    if (TW_LOAD(notice->place->mode) != 0) return 1;
    return late && (tw_mutex_abandoned(notice->mutex) || (owner != 0 && !tw_alive(owner)));
}
static inline int64_t tw_noticed_owner(void *subject) { return tw_owner(&((struct tw_notice *)subject)->mutex->handle); }

static inline void tw_notify(struct tw_condition *condition, int all) {
    for (struct tw_waiter *first; (first = tw_first_of(condition->handle.lock, 1));) {
        if (tw_clear_dead(first) || !tw_swap32(&first->mode, 0, 1)) continue;
        tw_ring(TW_LOAD(first->who), TW_LOAD(first->bell));
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
    struct tw_notice notice = {tw_enqueue(&condition->handle), mutex};
    if (!notice.place) return ENOSPC;
    tw_mutex_unlock(mutex);
    int result = tw_wait_until(&condition->handle, &wait, &notice, milliseconds);
    int notified = TW_LOAD(notice.place->mode) != 0;
    tw_dequeue(notice.place);
    /* Notified in the moment in which it gave up: that is left to the next one. */
    if (notified && result < 0) tw_notify(condition, 0);
    int how = tw_mutex_lock(mutex, -1);
    return result < 0 ? -result : how;
}

static inline void tw_condition_close(struct tw_condition *condition) { tw_close(&condition->handle); }

#endif
