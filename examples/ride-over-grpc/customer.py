"""The customer: python customer.py 127.0.0.1:50051. Knows ride.proto and gRPC, and nothing of Talkwire. Needs grpcio and grpcio-tools."""
import queue
import sys

import grpc

messages, services = grpc.protos_and_services("ride.proto")

with grpc.insecure_channel(sys.argv[1]) as channel:
    ride = services.RideStub(channel)
    trip = ride.Request(messages.RequestRequest(**{"from": "station", "to": "airport"}), timeout=10)
    print(f"{trip.driver} comes, {trip.euros:.2f} euros")

    for position in ride.Positions(messages.PositionsRequest(ride=trip.ride)):
        print(f"{position.street}, {position.km_left:g} km left")

    lines: queue.SimpleQueue = queue.SimpleQueue()
    answers = ride.Chat(iter(lines.get, None))
    for text in ["Where are you?", "I see you."]:
        lines.put(messages.ChatRequest(**{"from": "Grace", "text": text}))
        print("Ada:", next(answers).text)
    lines.put(None)

    try:
        ride.Request(messages.RequestRequest(**{"from": "station", "to": "moon"}))
    except grpc.RpcError as error:
        print(f"{error.code().name}: {error.details()}")
