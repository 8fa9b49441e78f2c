"""Prints labels: plain pika, which knows nothing of Talkwire."""

import json
import os
import time

import pika

url = os.environ.get("HUB", "amqp://127.0.0.1:5672")
channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
channel.basic_qos(prefetch_count=1)
print("works", flush=True)
for method, properties, body in channel.consume("talkwire.queue.labels"):
    job = json.loads(body)
    print(f"has order {job['order']}" + (" again" if method.redelivered else ""), flush=True)
    time.sleep(float(os.environ.get("SECONDS_A_LABEL", "0")))
    if "to" not in job:
        channel.basic_reject(method.delivery_tag, requeue=False)  # a dead letter
        continue
    label = json.dumps({"order": job["order"], "label": f"To {job['to']}"})
    channel.basic_publish(
        "talkwire.topics",
        "labels.printed",
        label.encode(),
        pika.BasicProperties(content_type="application/json"),
    )
    channel.basic_ack(method.delivery_tag)
