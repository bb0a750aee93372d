use netspectra_common::model::BusMessage;
use netspectra_common::ports::{BoxFuture, PortError, Publisher};
use tokio::sync::{mpsc, oneshot};

/// A generation's messages, and where to say that they need not be sent again.
pub(super) struct Delivery {
    pub(super) messages: Vec<BusMessage>,
    pub(super) done: oneshot::Sender<()>,
}

/// The engine's end of the bus.
pub struct BusReceiver(mpsc::Receiver<Delivery>);

impl BusReceiver {
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        self.0.recv().await
    }
}

/// The bus of a single process: ordered, acknowledged once stored, bounded.
#[derive(Clone)]
pub struct InProcessBus(mpsc::Sender<Delivery>);

/// A bus on which at most `generations` (at least 1) wait; further ones wait at their sender.
pub fn in_process_bus(generations: usize) -> (InProcessBus, BusReceiver) {
    let (sender, receiver) = mpsc::channel(generations.max(1));
    (InProcessBus(sender), BusReceiver(receiver))
}

impl Publisher for InProcessBus {
    fn publish(&self, messages: Vec<BusMessage>) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            let gone = || PortError::permanent("the engine has stopped, its own error says why: start it again");
            let (done, stored) = oneshot::channel();
            self.0.send(Delivery { messages, done }).await.map_err(|_| gone())?;
            stored.await.map_err(|_| gone())
        })
    }
}
