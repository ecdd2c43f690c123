<?php
// SOAP servers of PHP: /his is document/literal by HIS_WSDL, /rpc is rpc/encoded by RPC_WSDL.

class Slot
{
    public $SlotNo;
    public $Fee;

    public function __construct($no, $fee)
    {
        $this->SlotNo = $no;
        $this->Fee = $fee;
    }
}

class His
{
    public function FindSlots($request)
    {
        if ($request->DeptCode === 'FULL') {
            throw new SoapFault('Server', '号源已满', null, ['Code' => '1001']);
        }
        $slots = [];
        for ($n = 1; $n <= ($request->DeptCode === 'TWO' ? 2 : 1); $n++) {
            $slots[] = ['SlotNo' => $request->DeptCode . '-' . $n, 'Fee' => '25.00', 'Remark' => $request->DoctorNo ?? '张三<&>'];
        }
        return ['ResultCode' => '0', 'Slots' => ['Slot' => $slots]];
    }
}

class Rpc
{
    public function findSlots($dept, $count)
    {
        $same = new Slot($dept . '-same', 1.5);
        return array_merge([$same, $same], array_map(fn($n) => new Slot("$dept-$n", $n + 0.25), range(1, $count)));
    }

    public function total($slots)
    {
        return array_sum(array_map(fn($slot) => $slot->Fee, $slots));
    }

    public function greet($name)
    {
        return "您好 $name";
    }
}

ini_set('soap.wsdl_cache_enabled', '0');
$rpc = str_starts_with($_SERVER['REQUEST_URI'], '/rpc');
$server = new SoapServer(getenv($rpc ? 'RPC_WSDL' : 'HIS_WSDL'));
$server->setClass($rpc ? 'Rpc' : 'His');
$server->handle();
