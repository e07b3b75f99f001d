# Dask Gateway for is2ice. As it stands: one machine, processes of this user, no security (for trying it).
# On Kubernetes take backend, proxy and authentication from the Helm chart and keep the rest.
c = get_config()  # noqa: F821  the server gives it

c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.Proxy.address = "127.0.0.1:8000"
c.Proxy.tcp_address = "127.0.0.1:8001"

# distributed 2026.6 and later have no dask-scheduler and dask-worker scripts; the server's defaults call them.
c.ClusterConfig.scheduler_cmd = ["dask", "scheduler"]
c.ClusterConfig.worker_cmd = ["dask", "worker"]

# HDF5: one thread a worker.
c.ClusterConfig.worker_threads = 1
c.ClusterConfig.worker_cores = 1
c.ClusterConfig.worker_memory = "4 G"
c.ClusterConfig.environment = {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
c.ClusterConfig.idle_timeout = 1800
