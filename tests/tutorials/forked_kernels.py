"""python forked_kernels.py: fork a Jupyter kernel for everyone who asks at the port that it prints.

A kernel takes two seconds to import what most pages import. A fork has it from the start, and
shares nothing else with the kernels of other pages. Jupyter starts the program ``ASK`` in place of
a kernel: it asks for one, and lives as long.
"""

import importlib
import os
import signal
import socket
import sys

MODULES = (
    "autograd.numpy",
    "matplotlib.pyplot",
    "nfref",
    "numba",
    "scipy.optimize",
    "scipy.stats",
    "sklearn.datasets",
)
ASK = """import os, socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as server:
    server.sendall(f"{os.getcwd()}\\n{sys.argv[2]}\\n".encode())
    server.recv(1)  # returns when the kernel has ended
"""


def main():
    del sys.path[0]  # the folder of this file: a page finds only what is installed
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # as in every kernel
    launch = importlib.import_module("ipykernel.kernelapp").launch_new_instance
    for module in MODULES:
        importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for kernels that have ended
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            with connection, connection.makefile() as asked:
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    os.chdir(asked.readline().rstrip("\n"))
                    launch(["-f", asked.readline().rstrip("\n")])
                    return


if __name__ == "__main__":
    main()
