/* A flag that processes wait for: spec/sync.md § 8. Its name stays. */
#ifndef TALKWIRE_EVENT_H
#define TALKWIRE_EVENT_H

#include "talkwire_lock.h"

struct tw_event {
    struct tw_handle handle;
};

static inline int tw_event_open(struct tw_event *event, const char *name) { return tw_open(&event->handle, "event", TW_EVENT, name); }

static inline int tw_event_is_set(struct tw_event *event) { return TW_LOAD(event->handle.lock->value) != 0; }

/* Lets all pass who wait and who come, until tw_event_reset. Does not block. */
static inline void tw_event_set(struct tw_event *event) {
    TW_STORE(event->handle.lock->value, 1U);
    tw_wake_all(event->handle.lock);
}
static inline void tw_event_reset(struct tw_event *event) { TW_STORE(event->handle.lock->value, 0U); }

static inline int tw_is_set(void *subject) { return tw_event_is_set((struct tw_event *)subject); }
static inline int tw_pass(void *subject, int late, int waits) {
    (void)late;
    (void)waits;
    return tw_is_set(subject);
}
static inline int64_t tw_no_owner(void *subject) {
    (void)subject;
    return 0;
}
static const struct tw_offer tw_flag = {tw_pass, NULL, tw_is_set, tw_no_owner, tw_is_unordered, 1};

/* 0 when it is set, ETIMEDOUT. */
static inline int tw_event_wait(struct tw_event *event, double milliseconds) { return tw_take(&event->handle, &tw_flag, event, milliseconds); }

static inline void tw_event_close(struct tw_event *event) { tw_close(&event->handle); }

#endif
