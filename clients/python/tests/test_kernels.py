"""Kernels of a GPU, by what profilers of several versions tell, and as libraries register them."""

import os
import subprocess
import sys
import tempfile
import unittest
from collections import namedtuple

import tools
from reproduceml_client import kernels, operators, tracers

Kernel = namedtuple("Kernel", "name")


class Event:
    """An event of a profiler."""

    def __init__(self, name, device_type=None, held=None):
        self.name = name
        if device_type is not None:
            self.device_type = device_type
        if held is not None:
            self.kernels = [Kernel(name) for name in held]


class Dispatched(unittest.TestCase):
    def test_events_on_the_device_and_kernels_that_hang_to_operators(self):
        found = kernels.dispatched([
            Event("aten::relu", "DeviceType.CPU", ["void clamp<float>(float*)"]),
            Event("aten::copy_", "DeviceType.CPU", ["Memcpy HtoD (Pageable -> Device)"]),
            Event("cudaLaunchKernel", "DeviceType.CPU", []),
            Event("void add<4, at::AddFunctor<float> >(int)", "DeviceType.CUDA", []),
            Event("_Z5scalePfi", "DeviceType.CUDA"),
            Event("Memset (Device)", "DeviceType.CUDA"),
            Event("ProfilerStep#1", "DeviceType.CUDA"),
            # A range that the host marked, as the device tells it again.
            Event("Optimizer.step#SGD.step", "DeviceType.CPU"),
            Event("Optimizer.step#SGD.step", "DeviceType.CUDA"),
        ])
        self.assertEqual(found, {"void clamp<float>(float*)", "_Z5scalePfi",
                                 "void add<4, at::AddFunctor<float> >(int)"})

    def test_a_profiler_that_repeats_operators_tells_no_kernel(self):
        # PyTorch 1.1 to 1.7, with and without the name space.
        for name in ("conv2d", "aten::conv2d"):
            self.assertEqual(kernels.dispatched([Event(name, held=[name, name])]), set())

    def test_how_the_profiler_is_asked(self):
        class Old:
            def __init__(self, enabled=True, use_cuda=False, record_shapes=False):
                pass

        class Between:
            def __init__(self, enabled=True, *, use_cuda=False, use_kineto=False):
                pass

        class Later:
            def __init__(self, enabled=True, *, use_cuda=False, use_device=None):
                pass

        class Latest:
            def __init__(self, enabled=True, *, use_device=None):
                pass

        asked = [kernels.options(kind, "cuda") for kind in (Old, Between, Later, Latest)]
        self.assertEqual(asked, [{"use_cuda": True}, {"use_cuda": True, "use_kineto": True},
                                 {"use_cuda": True}, {"use_device": "cuda"}])
        self.assertEqual(kernels.options(Old, "cpu"), {})


SOURCE = """
/* As the compiler for GPUs registers kernels. */
const char *const names[] = {
    "_ZN2at6native43_GLOBAL__N__12_f_cu_0a1b2c3d_12345678_9abcd5scaleIfLi4EEEvPT_i",
    "_ZL8add_tilePfi", "_Z99", "_Z", "no name",
};
/* A function of the host, of a mangled name too. */
void _Z9host_onlyv(void) {}
"""


class Libraries(unittest.TestCase):
    def test_own_names(self):
        for mangled, own in ((b"_Z5scalePfi", "scale"), (b"_ZN1a1bI1cE1dEv", "b"),
                             (b"_ZNSt3fooEv", "foo"), (b"_Z99ab", None), (b"_Z", None)):
            self.assertEqual(kernels.own_name(mangled), own, mangled)

    @unittest.skipIf(tools.NO_COMPILER, "no %s here" % " and ".join(tools.NO_COMPILER))
    def test_kernels_stand_in_constants_and_functions_of_the_host_do_not(self):
        with tempfile.TemporaryDirectory() as folder:
            source, library = os.path.join(folder, "a.c"), os.path.join(folder, "libtorch_x.so")
            with open(source, "w", encoding="utf-8") as file:
                file.write(SOURCE)
            subprocess.check_call(["cc", "-shared", "-fPIC", "-o", library, source])
            self.assertEqual(kernels.of_library(library), {"scale", "add_tile"})

            class Package:
                __file__ = os.path.join(folder, "__init__.py")

            self.assertEqual(kernels.known(Package), set(), "it has no folder lib")
            os.mkdir(os.path.join(folder, "lib"))
            os.rename(library, os.path.join(folder, "lib", "libtorch_x.so"))
            for name, content in (("libtorch_y.so", b""), ("libc10.so", b"\x7fELF\x02\x01")):
                with open(os.path.join(folder, "lib", name), "wb") as file:
                    file.write(content)
            self.assertEqual(kernels.known(Package), {"scale", "add_tile"})


def gpu():
    """Whether PyTorch is here, and a GPU that it can use."""
    if not tools.has("torch"):
        return False
    import torch
    return torch.cuda.is_available()


class OnAGpu(unittest.TestCase):
    @unittest.skipUnless(gpu(), "no GPU that PyTorch can use is here")
    def test_a_traced_epoch_names_its_kernels(self):
        told = operators.trace(operators.read_arguments(
            ["--model", "vgg-x", "--shape", "3,32,32", "--device", "cuda"]))
        self.assertTrue(told["kernels"])
        version = tuple(int(part) for part in told["version"].split(".")[:2])
        self.assertGreaterEqual(version, (1, 8), "older profilers tell no kernels")
        own = set(told["known"]["kernels"])
        shared = [name for name in own if any(name in kernel for kernel in told["kernels"])]
        self.assertTrue(shared, "a kernel that was dispatched is one that the version has")


class FakeTorch:
    """As much of PyTorch as the tracer asks for."""

    __file__ = os.path.join(os.path.dirname(os.path.abspath(__file__)), "none", "__init__.py")
    __name__ = "torch"
    __version__ = "9.9"

    class Tensor:
        def backward(self):
            pass

    class autograd:
        class profiler:
            class profile:
                def __init__(self, enabled=True, use_cuda=False):
                    self.function_events = [
                        Event("aten::relu", "DeviceType.CPU"),
                        Event("void relu_kernel<float>(float*)", "DeviceType.CUDA")]
                    if not use_cuda:
                        del self.function_events[1]

                def __enter__(self):
                    return self

                def __exit__(self, *exception):
                    pass

    class _C:
        @staticmethod
        def _jit_get_all_schemas():
            return []


class Traced(unittest.TestCase):
    def test_a_trace_on_a_gpu_has_kernels_and_one_on_a_cpu_has_none(self):
        for device, told in (("cuda", ["void relu_kernel<float>(float*)"]), ("cpu", [])):
            tracer = tracers.PyTorch(device)
            tracer.start(FakeTorch)
            tracer.stop()
            result = tracer.result()
            self.assertEqual(result["kernels"], told)
            self.assertEqual(result["operators"], ["aten::relu"])
            self.assertEqual(result["known"]["kernels"], [])


if __name__ == "__main__":
    unittest.main()
