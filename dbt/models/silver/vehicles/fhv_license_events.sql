with

history as (
    select * from {{ ref('fhv_license_history') }}
),

periods as (
    select
        vehicle_license_number,
        holder_name,
        base_number,
        plate_number,
        dbt_valid_from as valid_from,
        dbt_valid_to as valid_to,
        min(dbt_valid_from) over () as first_listed_at,
        lag(dbt_valid_to) over license_periods as previous_valid_to,
        lag(holder_name) over license_periods as previous_holder_name,
        lag(base_number) over license_periods as previous_base_number,
        lag(plate_number) over license_periods as previous_plate_number,
        lead(dbt_valid_from) over license_periods as next_valid_from,
    from history
    window license_periods as (partition by vehicle_license_number order by dbt_valid_from)
),

judged_periods as (
    select
        vehicle_license_number,
        holder_name,
        base_number,
        plate_number,
        previous_holder_name,
        previous_base_number,
        previous_plate_number,
        valid_from,
        valid_to,
        first_listed_at,
        previous_valid_to is null or previous_valid_to < valid_from as is_start,
        valid_to is not null and (next_valid_from is null or next_valid_from > valid_to) as is_end,
    from periods
),

arrivals as (
    select
        vehicle_license_number,
        if(valid_from = first_listed_at, 'first_listed', 'joined') as event_type,
        valid_from as event_at,
    from judged_periods
    where is_start
),

departures as (
    select
        vehicle_license_number,
        'left' as event_type,
        valid_to as event_at,
    from judged_periods
    where is_end
),

changes as (
    select
        vehicle_license_number,
        change as event_type,
        valid_from as event_at,
    from judged_periods
    cross join unnest(['holder_changed', 'base_changed', 'plate_changed']) as change
    where
        not is_start
        and case change
            when 'holder_changed' then holder_name is distinct from previous_holder_name
            when 'base_changed' then base_number is distinct from previous_base_number
            else plate_number is distinct from previous_plate_number
        end
),

final as (
    select
        vehicle_license_number,
        event_type,
        event_at,
    from arrivals
    union all
    select
        vehicle_license_number,
        event_type,
        event_at,
    from departures
    union all
    select
        vehicle_license_number,
        event_type,
        event_at,
    from changes
)

select * from final
