"""What a prompt costs under each way of marking it, on recorded traffic: `python -m benchmarks.prefix`.

Workloads are built from the traces beside this file, every request goes through the strict provider model of
`payonce.testing.providers`, and what it cost stands beside the least that any marking could have cost.
"""
