/* Locks between processes, the same as in Node and in Python: all kinds. What holds for all of them is told in talkwire_lock.h. */
#ifndef TALKWIRE_SYNC_H
#define TALKWIRE_SYNC_H

#include "talkwire_barrier.h"
#include "talkwire_condition.h"
#include "talkwire_event.h"
#include "talkwire_inspect.h"
#include "talkwire_mutex.h"
#include "talkwire_once.h"
#include "talkwire_rwlock.h"
#include "talkwire_semaphore.h"

#endif
