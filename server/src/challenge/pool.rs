//! A challenge's samples before they are split.

/// Samples with their labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Shape of one sample: channels, height, width.
    pub shape: [u32; 3],
    /// Number of classes.
    pub classes: u8,
    /// The samples' bytes, one after the other in C order.
    pub pixels: Vec<u8>,
    /// The samples' classes, each below `classes`.
    pub labels: Vec<u8>,
}

impl Pool {
    /// Bytes of one sample.
    pub fn sample_len(&self) -> usize {
        self.shape.iter().map(|d| *d as usize).product()
    }

    /// Number of samples.
    pub fn len(&self) -> u32 {
        u32::try_from(self.labels.len()).unwrap_or(u32::MAX)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The samples at `places`, normalised: `(v / 255 - mean) / deviation` by channel, each step
    /// rounded to binary32, as little-endian bytes. A place that does not exist is left out.
    pub fn normalised(&self, places: &[u32], constants: &[(f32, f32)]) -> Vec<u8> {
        let length = self.sample_len();
        let area = self.shape[1] as usize * self.shape[2] as usize;
        let tables: Vec<[[u8; 4]; 256]> = constants
            .iter()
            .map(|(mean, deviation)| {
                std::array::from_fn(|v| ((v as f32 / 255.0 - mean) / deviation).to_le_bytes())
            })
            .collect();
        let mut bytes = Vec::with_capacity(places.len() * length * 4);
        for place in places {
            let start = *place as usize * length;
            let Some(sample) = self.pixels.get(start..start + length) else { continue };
            for (channel, table) in sample.chunks(area.max(1)).zip(&tables) {
                for pixel in channel {
                    // A byte always has its place in a table of 256.
                    bytes.extend_from_slice(table.get(usize::from(*pixel)).unwrap_or(&[0; 4]));
                }
            }
        }
        bytes
    }

    /// The classes of the samples at `places`.
    pub fn labels_at(&self, places: &[u32]) -> Vec<u8> {
        places.iter().filter_map(|p| self.labels.get(*p as usize)).copied().collect()
    }
}
