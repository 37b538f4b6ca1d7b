//! A second reader of Kopia repositories, small and slow, written from the format's specification alone; used only in tests.
