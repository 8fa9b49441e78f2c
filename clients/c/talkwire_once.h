/* Something that is done once, by whichever process comes first: spec/sync.md § 9. Its name stays. */
#ifndef TALKWIRE_ONCE_H
#define TALKWIRE_ONCE_H

#include "talkwire_mutex.h"

struct tw_once {
    struct tw_handle handle;
};

static inline int tw_once_open(struct tw_once *once, const char *name) { return tw_open(&once->handle, "once", TW_ONCE, name); }

static inline int tw_once_is_done(struct tw_once *once) { return TW_LOAD(once->handle.lock->value) != 0; }

/*
 * Others wait while `work` runs, at most so many milliseconds (ETIMEDOUT). 0 when it is done, here or elsewhere; otherwise what
 * `work` returned: it is not done then, and the next one does it, as after the death of its process.
 */
static inline int tw_once_run(struct tw_once *once, int (*work)(void *argument), void *argument, double milliseconds) {
    if (tw_once_is_done(once)) return 0;
    int failed = tw_take(&once->handle, &tw_ownership, &once->handle, milliseconds);
    if (failed) return failed;
    failed = tw_once_is_done(once) ? 0 : work(argument);
    if (!failed) {
        TW_STORE(once->handle.lock->value, 1U);
        TW_STORE(once->handle.lock->damaged, 0U);
    }
    tw_disown(&once->handle);
    return failed;
}

static inline void tw_once_close(struct tw_once *once) { tw_close(&once->handle); }

#endif
