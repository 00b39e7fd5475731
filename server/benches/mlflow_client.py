"""mlflow_client.py PORT FOLDER SECONDS CLIENTS: single metrics a second at MLflow's tracking server.

Starts the server with SQLite in FOLDER, logs one metric a request from CLIENTS threads for
SECONDS, and prints the acknowledged requests a second.
"""

import subprocess
import sys
import threading
import time
import urllib.request


def main():
    port, folder, seconds, clients = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    store = "sqlite:///%s/mlflow.db" % folder
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store]
    command += ["--artifacts-destination", folder, "--host", "127.0.0.1", "--port", port]
    command += ["--workers", "1"]
    with open("%s/mlflow.log" % folder, "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        print(rate("http://127.0.0.1:%s" % port, seconds, clients))
    finally:
        server.terminate()
        server.wait()


def rate(address, seconds, clients):
    for _ in range(600):
        try:
            urllib.request.urlopen(address + "/health")
            break
        except OSError:
            time.sleep(0.1)
    from mlflow.tracking import MlflowClient

    made = MlflowClient(address)
    experiment = made.create_experiment("bench")
    runs = [made.create_run(experiment).info.run_id for _ in range(clients)]
    counts = [0] * clients

    def log(place):
        client = MlflowClient(address)
        client.log_metric(runs[place], "loss", 0.5, step=0)
        end = time.time() + seconds
        while time.time() < end:
            counts[place] += 1
            client.log_metric(runs[place], "loss", 0.5, step=counts[place])

    threads = [threading.Thread(target=log, args=(place,)) for place in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


main()
