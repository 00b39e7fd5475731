//! What tch has no function for: libtorch's global switches, and what it says about itself.

use std::ffi::{c_char, c_int};

// In shim/context.cpp.
unsafe extern "C" {
    fn reproduceml_set_control(control: c_int) -> c_int;
    fn reproduceml_text(which: c_int, into: *mut c_char, capacity: usize) -> usize;
}

/// A switch of libtorch's that takes a source of non-determinism away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// Operations without a deterministic implementation end the run.
    DeterministicAlgorithms,
    /// cuDNN's deterministic algorithms.
    CudnnDeterministic,
    /// No choice of cuDNN's algorithms by their speed.
    NoCudnnBenchmark,
    /// No TF32 in matrix products.
    NoTf32InMatmul,
    /// No TF32 in cuDNN.
    NoTf32InCudnn,
    /// Matrix products of binary32 numbers in binary32.
    HighestMatmulPrecision,
    /// New tensors are filled before they are handed out.
    FillMemory,
}

impl Switch {
    /// Every switch with its number in the shim and the name that reports have for it.
    pub const ALL: [(Self, c_int, &str); 7] = [
        (Self::DeterministicAlgorithms, 0, "deterministic algorithms"),
        (Self::CudnnDeterministic, 1, "cudnn deterministic"),
        (Self::NoCudnnBenchmark, 2, "cudnn benchmark"),
        (Self::NoTf32InMatmul, 3, "tf32 in matmul"),
        (Self::NoTf32InCudnn, 4, "tf32 in cudnn"),
        (Self::HighestMatmulPrecision, 5, "float32 matmul precision"),
        (Self::FillMemory, 6, "fill uninitialised memory"),
    ];

    /// What the switch is set to, as reports say it.
    pub fn value(self) -> serde_json::Value {
        match self {
            Self::NoCudnnBenchmark | Self::NoTf32InMatmul | Self::NoTf32InCudnn => false.into(),
            Self::HighestMatmulPrecision => "highest".into(),
            Self::DeterministicAlgorithms | Self::CudnnDeterministic | Self::FillMemory => {
                true.into()
            }
        }
    }
}

/// Sets a switch by its number: whether it reads back as set, or none when libtorch refused.
pub fn set(number: c_int) -> Option<bool> {
    // SAFETY: a function without pointers that lets no exception out.
    match unsafe { reproduceml_set_control(number) } {
        -1 => None,
        read_back => Some(read_back != 0),
    }
}

fn text(which: c_int) -> String {
    let mut bytes = vec![0_u8; 1 << 14];
    // SAFETY: the function writes at most so many bytes as there are and says how many.
    let length = unsafe { reproduceml_text(which, bytes.as_mut_ptr().cast(), bytes.len()) };
    bytes.truncate(length);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The version of libtorch's headers.
pub fn version() -> String {
    text(0)
}

/// How libtorch was built.
pub fn build() -> String {
    text(1)
}

/// What libtorch says about its threads.
pub fn parallel_info() -> String {
    text(2)
}

/// The instruction set that libtorch's own kernels use on this CPU.
pub fn cpu_capability() -> String {
    text(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_switch_takes_effect() {
        for (switch, number, name) in Switch::ALL {
            assert_eq!(set(number), Some(true), "{name}: {switch:?}");
        }
        assert_eq!(set(99), None);
    }

    #[test]
    fn libtorch_tells_what_it_is() {
        assert!(version().starts_with("2.11.0"), "{}", version());
        assert!(build().contains("PyTorch built with"));
        assert!(parallel_info().contains("ATen"));
        assert!(!cpu_capability().is_empty());
    }
}
