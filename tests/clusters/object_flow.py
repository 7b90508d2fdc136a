"""The whole pipeline on a small survey, with every product wherever one likes."""

from distcnn import pipeline
from distcnn.config import load_config
from distcnn.survey import Store

SMALL = [
    *("demo.stars=400", "simulate.stars_per_file=200"),
    *("ingest.store.shard_stars=64", "ingest.store.chunk_stars=32"),
    *(
        "train.members=1",
        "train.epochs=1",
        "train.stacking.methods=[]",
        "predict.precision=float32",
        "predict.engine=eager",
    ),
    *(
        "report.baselines=false",
        "report.sections=[summary,errors]",
        "objects.retries=2",
        "objects.retry_seconds=20",
    ),
]
SERIAL, LOCAL = ("cluster.backend=serial",), ("cluster.backend=local", "cluster.workers=2")


def configuration(*more):
    return load_config("demo", [*SMALL, *more])


def run_stages(archive, at, config, predicting, told):
    """From archive to page; ``at`` joins the name of a product to its folder."""
    pipeline.ingest_archive(archive, at("survey.zarr"), config, told.append)
    pipeline.train_package(at("survey.zarr"), at("package"), config, told.append)
    pipeline.predict_survey(
        at("package"), at("survey.zarr"), at("predictions.zarr"), predicting, told.append
    )
    told.append(pipeline.verify_predictions(at("predictions.zarr"), config, told.append))
    for name in ("catalogue.parquet", "catalogue.hats"):
        pipeline.export_catalogue(at("predictions.zarr"), at(name), config=config)
    pipeline.write_report(at("predictions.zarr"), at("report"), config, told.append)


def digests(place):
    store = Store.open(place)
    return {region.name: store.digest(region) for region in store.regions()}
