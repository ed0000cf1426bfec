"""What the library costs, beside a raw call, hand-written code and the libraries a user might pick instead.

``python -m tests.benchmarks`` prints tables in Markdown; ``--check`` says which gate is missed, if any. Each library is
measured in a process of its own: event listeners that one of them sets would slow the others down. Where valgrind is
installed the tables count instructions, which repeat within 1 % on a busy machine; elsewhere they hold the least CPU time of
several rounds. All cells of a table are measured in the same way.
"""
