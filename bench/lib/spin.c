/* spin COUNT CORE CORE: two processes hand one word of shared memory to and fro; prints ns a round trip. What the machine allows. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void pin(const char *core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(atoi(core), &set);
    sched_setaffinity(0, sizeof set, &set);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    atomic_int *there = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), *back = there + 64;
    int count = atoi(argv[1]);
    if (fork() == 0) {
        pin(argv[3]);
        for (int n = 1; n <= count; n++) {
            while (atomic_load_explicit(there, memory_order_acquire) != n) continue;
            atomic_store_explicit(back, n, memory_order_release);
        }
        return 0;
    }
    pin(argv[2]);
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int n = 1; n <= count; n++) {
        atomic_store_explicit(there, n, memory_order_release);
        while (atomic_load_explicit(back, memory_order_acquire) != n) continue;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    wait(NULL);
    printf("%.1f\n", ((double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec)) / count);
    return 0;
}
