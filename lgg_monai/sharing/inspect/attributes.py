"""Which built-ins and attributes may be used in a bundle, by their names alone."""

from __future__ import annotations

from lgg_monai.sharing.inspect.findings import Grade
from lgg_monai.sharing.inspect.policy import D, E, N, words

BUILTINS = words(
    "abs all any bool bytes complex dict divmod enumerate filter float format frozenset hash hex int isinstance "
    "issubclass len list map max min oct ord pow print range repr reversed round set slice sorted str sum tuple zip "
    "chr bin ascii callable True False None NotImplemented Ellipsis Exception ValueError TypeError KeyError IndexError "
    "RuntimeError AttributeError NotImplementedError StopIteration AssertionError ArithmeticError ZeroDivisionError "
    "FileNotFoundError ImportError OSError UserWarning DeprecationWarning FutureWarning RuntimeWarning Warning "
    "SystemExit"
)
# Only meaningful, and only then expected, in a script.
SCRIPT_BUILTINS = words("super property staticmethod classmethod object iter next type hasattr id __name__ __file__")

# Names that a script may give another meaning: harmless, whichever is meant.
ANY_BUILTINS = (
    BUILTINS | SCRIPT_BUILTINS | words("input dir help license copyright credits exit quit memoryview bytearray")
)

# Attributes of values whose type the inspector does not know.
PLAIN_ATTRIBUTES = words(  # networks, tensors and arrays
    "to cpu cuda numpy detach clone item tolist size shape ndim dim dtype device numel float half double long int bool "
    "type astype parameters named_parameters buffers named_buffers modules named_modules children named_children "
    "state_dict load_state_dict eval train forward zero_grad requires_grad requires_grad_ step backward grad data "
    "weight bias in_channels out_channels training add_module register_buffer register_parameter register_module "
    "append extend insert pop copy view reshape permute transpose squeeze unsqueeze expand expand_as contiguous "
    "flatten sum mean std var min max argmax argmin any all abs sqrt exp log pow clamp clamp_ clip round floor ceil "
    "sigmoid softmax masked_fill masked_fill_ fill_ zero_ copy_ mul_ add_ div_ sub_ norm T mT ravel nonzero where "
    "nan_to_num amin amax movedim cummax unique sort argsort index_select gather scatter_ repeat chunk split flip roll "
    "is_floating_point is_cuda new_zeros new_ones new_full new_empty new_tensor pow_ sqrt_ exp_ log_ abs_ neg_ ge_ gt_ "
    "le_ lt_ type_as matmul affine meta is_complex real imag inverse "
    # engines, handlers and data
    "run state output epoch iteration max_epochs epoch_length metrics batch dataset transform optimizer network "
    "add_event_handler remove_event_handler exception_raised attach on compute update reset fire_event terminate "
    "terminate_epoch logger ema_model key_metric_name best_metric inferer scaler scale amp amp_kwargs to_kwargs "
    "non_blocking prepare_batch module apply roi_size setLevel set_trainer param_groups lr get_last_lr sampler "
    "batch_size set_epoch num_samples randomize R set_random_state seed keys transforms initial_seed manual_seed "
    # text, lists, dicts, numbers, streams
    "lower upper strip lstrip rstrip startswith endswith join splitlines replace title zfill count index find isdigit "
    "items values get setdefault remove clear add union intersection difference discard issubset reverse total real "
    "isatty flush now strftime isoformat stem name suffix parent image label images labels mask is_integer bit_length"
)
DANGEROUS_ATTRIBUTES = words("from_file") | words(
    "system popen Popen call check_call check_output getoutput getstatusoutput run_cmd run_module run_path runstring "
    "runctx runcall kill killpg environ environb getenv putenv unsetenv open fdopen urlopen urlretrieve connect bind "
    "sendto listen accept request retrieve import_module find_spec builtins os sys subprocess socket shutil importlib "
    "ctypes pickle marshal inspect pathlib platform_subprocess multiprocessing threading asyncio signal pty code "
    "codeop runpy zipimport pkgutil sysconfig site gc tempfile glob io cffi urllib http requests ftplib smtplib tofile "
    "fromfile unlink rmdir rmtree removedirs rename renames mkdir makedirs chmod chown symlink symlink_to hardlink_to "
    "link_to touch truncate to_csv to_pickle to_sql to_hdf to_parquet to_excel to_json f_globals f_locals f_builtins "
    "f_back f_code gi_frame gi_code cr_frame cr_code ag_frame ag_code tb_frame tb_next func_globals co_code mro "
    "get_parsed_content export_config_file attrgetter methodcaller DataSource CompilationUnit load_library load_inline "
    "hub cpp_extension classes ops package format_map get_field vformat set_trace breakpoint optional_import "
    # read attributes that a text names
    "get_attribute_from_network get_stats get_train_stats get_validation_stats state_dict_user_keys ParameterModule "
    "register_function _load_global meta_path path_hooks settrace setprofile addaudithook "
    # set_data of a data set with a cache on disk empties that folder; the others run what a text says
    "set_data collect_env f2py distutils start_processes timeit"
)
DANGEROUS_BEGINNINGS = tuple(words("exec spawn fork posix_spawn read_ write save dump download upload load unpickle"))
READING = words("read readline readlines readinto recv send sendall")
HARMLESS_EXCEPTIONS = words("load_state_dict executor savings save_rank save_dir")
PLAIN_DUNDERS = {"__version__", "__cause__"}  # the second leads from one error to another
SCRIPT_DUNDERS = words(
    "__init__ __call__ __len__ __getitem__ __setitem__ __iter__ __next__ __enter__ __exit__ __name__ __doc__ "
    "__version__ __eq__ __repr__ __str__ __contains__ __post_init__"
)
# Special names that a script may bind or read.
SCRIPT_NAMES = SCRIPT_DUNDERS | words(
    "__all__ __author__ __file__ __license__ __slots__ __module__ __qualname__ __constants__ __hash__ __copyright__ "
    "__date__ __email__ __maintainer__ __credits__ __status__"
)
# Special methods by which a class changes what a pattern or an attribute of another means.
CHANGE_MEANING = words(
    "__instancecheck__ __subclasscheck__ __getattr__ __getattribute__ __match_args__ __class_getitem__"
)
# Frames and code lead to every built-in.
FRAMES = words(
    "gi_frame gi_code cr_frame cr_code ag_frame ag_code f_back f_builtins f_globals f_locals f_code tb_frame tb_next"
)


def attribute(name: str) -> Grade:
    """Grade an attribute of a value whose type is unknown, by its name alone."""
    if name.startswith("_"):
        return E if name in PLAIN_DUNDERS else D
    if name in PLAIN_ATTRIBUTES or name in HARMLESS_EXCEPTIONS:
        return E
    if name in DANGEROUS_ATTRIBUTES or name in READING or name.startswith(DANGEROUS_BEGINNINGS):
        return D
    return N
