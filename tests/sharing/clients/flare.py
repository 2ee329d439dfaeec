"""Trains at several sites in NVIDIA FLARE's simulator: python flare.py BUNDLE WORKSPACE DATA DATA, one DATA a site."""

import sys
from pathlib import Path

from monai.fl.client import MonaiAlgo
from monai_nvflare import ClientAlgoExecutor, MonaiBundlePersistor
from nvflare.app_common.aggregators.intime_accumulate_model_aggregator import InTimeAccumulateWeightedAggregator
from nvflare.app_common.shareablegenerators.full_model_shareable_generator import FullModelShareableGenerator
from nvflare.app_common.widgets.intime_model_selector import IntimeModelSelector
from nvflare.app_common.widgets.validation_json_generator import ValidationJsonGenerator
from nvflare.app_common.workflows.cross_site_model_eval import CrossSiteModelEval
from nvflare.app_common.workflows.scatter_and_gather import ScatterAndGather
from nvflare.app_opt.pt.file_model_locator import PTFileModelLocator
from nvflare.job_config.api import FedJob

# Absolute, as every site runs in a folder of its own.
bundle, workspace, *sites = (str(Path(argument).resolve()) for argument in sys.argv[1:])
# The folder of a job's code, which is on the Python path. The server and every site get a bundle of their own in it:
# training replaces models/model.pt, which the server begins with. FLARE 2.9 takes MONAI's classes beside code alone.
CODE = "custom"
METRIC = "val_volume_dice"
# For a quick run; leave them out to train.
SMALL = {"precision": "fp32", "slices_per_volume": 2, "slice_size": 64, "patch_size": 64}

job = FedJob("lgg", min_clients=len(sites))
job.set_app_packages(["monai", "monai_nvflare"])  # installed at each site, so not copied into the job
job.to_server(bundle)
# Without the checkpoint it would begin with random weights.
job.to_server(MonaiBundlePersistor(CODE, source_ckpt_filename="models/model.pt"), id="persistor")
job.to_server(FullModelShareableGenerator(), id="shareable_generator")
job.to_server(InTimeAccumulateWeightedAggregator(expected_data_kind="WEIGHT_DIFF"), id="aggregator")
job.to_server(IntimeModelSelector(key_metric=METRIC))
rounds = ScatterAndGather(
    min_clients=len(sites), num_rounds=2, wait_time_after_min_received=0, persistor_id="persistor"
)
job.to_server(rounds, id="rounds")
job.to_server(PTFileModelLocator("persistor"), id="locator")
job.to_server(ValidationJsonGenerator())
job.to_server(CrossSiteModelEval(model_locator_id="locator"), id="scores")
for number, data in enumerate(sites, 1):
    site = f"site-{number}"
    train = {"dataset_dir": data, **SMALL}
    evaluate = {**train, "val_datalist": "$@parts[1]"}  # who is not trained on; without it, all patients are scored
    job.to(bundle, site)
    job.to(MonaiAlgo(CODE, local_epochs=1, train_kwargs=train, eval_kwargs=evaluate), site, id="algo")
    job.to(ClientAlgoExecutor("algo", key_metric=METRIC), site)
job.simulator_run(workspace)  # or job.export_job(FOLDER), for `nvflare job submit`
