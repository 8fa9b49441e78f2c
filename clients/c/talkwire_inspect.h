/*
 * Who holds a lock and who waits, for people: what `inspect()` of Node and Python tells. Others may change it meanwhile.
 *
 *   struct tw_party holder;
 *   if (tw_holder(&mutex.handle, &holder)) printf("%d (%s)\n", holder.pid, holder.label);
 */
#ifndef TALKWIRE_INSPECT_H
#define TALKWIRE_INSPECT_H

#include "talkwire_lock.h"

struct tw_party {
    int pid, alive; /* pid: of a worker of Node that of its thread */
    double since;   /* milliseconds since 1970 */
    char label[TW_LABEL + 1];
};

static inline struct tw_party tw_party_of(int64_t who, double since) {
    struct tw_party party = {tw_id(who), tw_alive(who), since, {0}};
    return party;
}

/* Of a mutex, a once, a read-write lock (its writer): 1, or 0 when nobody has it. */
static inline int tw_holder(const struct tw_handle *handle, struct tw_party *holder) {
    int64_t owner = TW_LOAD(handle->lock->owner);
    if (owner == 0) return 0;
    *holder = tw_party_of(owner, handle->lock->since);
    memcpy(holder->label, handle->lock->label, TW_LABEL);
    /* It may have let go, and ended, in between. */
    return holder->alive || TW_LOAD(handle->lock->owner) == owner ? 1 : tw_holder(handle, holder);
}

/* Of a semaphore, and the readers of a read-write lock: how many parts are taken, of which the first `most` are written. */
static inline int tw_holders(const struct tw_handle *handle, struct tw_party *holders, int most) {
    int count = 0;
    for (int slot = 0; slot < TW_SLOTS; slot++) {
        int64_t owner = TW_LOAD(*tw_slot(handle, slot));
        if (owner == 0) continue;
        if (count < most) holders[count] = tw_party_of(owner, *tw_slot_since(handle, slot));
        count++;
    }
    return count;
}

/* In the order in which they came: how many wait, of which `waiters` has room for all, TW_WAITERS. */
static inline int tw_waiting(const struct tw_handle *handle, struct tw_party *waiters) {
    uint32_t sequences[TW_WAITERS];
    int count = 0;
    for (const struct tw_waiter *place = handle->lock->waiters; place < handle->lock->waiters + TW_WAITERS; place++) {
        uint32_t sequence = TW_LOAD(place->sequence);
        int64_t who = TW_LOAD(place->who);
        if (sequence == 0 || !tw_alive(who)) continue;
        int at = count++;
        for (; at > 0 && (int32_t)(sequences[at - 1] - sequence) > 0; at--) {
            sequences[at] = sequences[at - 1];
            waiters[at] = waiters[at - 1];
        }
        sequences[at] = sequence;
        waiters[at] = tw_party_of(who, place->since);
    }
    return count;
}

#endif
