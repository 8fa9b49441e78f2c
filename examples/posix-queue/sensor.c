/* sensor NAME DEGREES…: tells a desk what an oven's thermometer says, and does what the desk orders. Plain C, mq_overview(7). */
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE 64

static mqd_t open_queue(const char *name, const char *ending) {
  char full[128];
  struct mq_attr attributes = {.mq_maxmsg = 10, .mq_msgsize = SIZE};
  snprintf(full, sizeof full, "/%s%s", name, ending);
  mqd_t queue = mq_open(full, O_RDWR | O_CREAT, 0600, &attributes);
  if (queue == (mqd_t)-1) {
    perror(full);
    exit(1);
  }
  return queue;
}

int main(int count, char **words) {
  if (count < 3) return 2;
  mqd_t readings = open_queue(words[1], ""), orders = open_queue(words[1], "-orders");
  for (int word = 2; word < count; word++) {
    int degrees = atoi(words[word]);
    mq_send(readings, words[word], strlen(words[word]), degrees > 250 ? 9 : 0);
  }
  puts("told");
  fflush(stdout);
  char order[SIZE];
  ssize_t length = mq_receive(orders, order, SIZE, NULL);
  printf("the desk says: %.*s\n", (int)length, order);
  mq_send(readings, "done", 4, 0);
  return 0;
}
