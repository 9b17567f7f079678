"""The entry point of a Ray job: `ray job submit --working-dir . -- python jobs/run.py jobs/demo.yaml`.

A job's working directory is a copy that Ray deletes. A relative storage therefore means a folder below ~/raypipe on the
machine that runs the job. On several machines give a storage that all of them reach: `--storage s3://bucket/raypipe`,
or a shared mount.
"""

from raypipe.base.stopping import watch_start

if __name__ == "__main__":
    watch_start()
    from raypipe.cli.job import main  # takes half a second, in which a signal ends the job in one line

    main()
